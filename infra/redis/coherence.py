"""The coherence protocol against a real server: one method a script, and nothing decided here.

    worker   state ▸ apply … apply ▸ (refused: state again) ▸ begin_epoch
    reader   look ▸ lease ▸ (read Postgres) ▸ fill, or witness where another holds the lease
    writer   (commit) ▸ invalidate

Keys of a namespace: ``<ns>:state``, ``<ns>:<entry>``, ``<ns>:tag:<tag>``; notices travel on ``<ns>:notices``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec
from redis.asyncio import Redis

from infra.redis.calls import ScriptCaller, redis_errors
from infra.redis.effects import Applied, Batch, Refused
from infra.redis.row_fill import RowFill
from schemas.catalog import Table
from schemas.entry import Header, unpack
from schemas.token import WriteToken
from schemas.wal import Snapshot

_pack = msgspec.msgpack.Encoder().encode
# The floor of an epoch whose first position nobody has read yet: no event creates under it.
NO_FLOOR_YET: Final = 1 << 52
_NO_WRITE: Final = WriteToken(0, 0)


class State(msgspec.Struct, frozen=True):
    """The state hash as a worker or an operator sees it. ``epoch`` is empty where nothing can be cached."""

    epoch: str
    floor: int
    identity: str
    watermarks: Mapping[str, int]
    table_floors: Mapping[str, str]


class Found(msgspec.Struct, frozen=True):
    """What lies under a key, with the epoch it was looked at in and the floor of its table."""

    header: Header
    body: bytes


class Leased(msgspec.Struct, frozen=True):
    """The caller holds the lease and may fill. ``generations`` are those of a query's tags, in their order."""

    token: str
    generations: tuple[str, ...] = ()


class Held(msgspec.Struct, frozen=True):
    """Another reader holds the lease for this many milliseconds more."""

    remaining_ms: int


class Unready(msgspec.Struct, frozen=True):
    """There is no epoch: nothing can be cached until a worker has begun one."""


def watermark_field(group: str, topic: str, partition: int) -> str:
    """The field of the state hash that holds the next offset of a group's partition."""
    return f"w:{group}/{topic}/{partition}"


class Coherence:
    """The one caller of the protocol's scripts. Takes an open client with binary replies; closes nothing."""

    def __init__(self, client: Redis, namespace: str) -> None:
        """Prepare to call the scripts under this namespace's keys. No I/O."""
        self._client = client
        self.namespace = namespace
        self.state_key = f"{namespace}:state"
        self.channel = f"{namespace}:notices"
        self._caller = ScriptCaller(client)

    def entry_key(self, key: str) -> str:
        """The Redis key of an entry."""
        return f"{self.namespace}:{key}"

    def tag_key(self, tag: str) -> str:
        """The Redis key of a tag's generation."""
        return f"{self.namespace}:tag:{tag}"

    # Workers.

    async def state(self) -> State:
        """The whole state hash."""
        with redis_errors():
            fields = await cast("Awaitable[dict[bytes, bytes]]", self._client.hgetall(self.state_key))
        text = {name.decode(): content.decode() for name, content in fields.items()}
        return State(
            epoch=text.get("epoch", ""),
            floor=int(text.get("floor", 0)),
            identity=text.get("identity", ""),
            watermarks={name: int(offset) for name, offset in text.items() if name.startswith("w:")},
            table_floors={name[2:]: floor for name, floor in text.items() if name.startswith("t:")},
        )

    async def apply(self, batches: Sequence[Batch], sent: Callable[[], None] | None = None) -> list[Applied | Refused]:
        """Apply batches in their order, in one round trip; those that build on a refused one are refused too.

        ``sent`` is called when all of them are on their way, so that whoever has other work can go on with it.
        """
        replies = await self._caller.many([("apply", [self.state_key], [_pack(batch)]) for batch in batches], sent)
        return [
            Applied(second, third) if done else Refused(int(second) if second else None, bytes(third).decode())
            for done, second, third in replies
        ]

    async def begin_epoch(
        self, *, expected: str, epoch: str, floor: int, identity: str, watermarks: Iterable[tuple[str, int]]
    ) -> str:
        """Make everything cached a miss, unless another worker did so since; returns the epoch then in force.

        An epoch begins with ``NO_FLOOR_YET``. Called again with ``epoch`` as expected, it gets its floor.
        """
        request = _pack((self.namespace, expected, epoch, floor, identity, list(watermarks)))
        _, stored = await self._caller.one("epoch", [self.state_key], [request])
        return bytes(stored).decode()

    async def forget_watermarks(self, fields: Collection[str]) -> None:
        """Forget watermarks that nothing can be applied on any more."""
        if fields:
            with redis_errors():
                await self._client.hdel(self.state_key, *fields)

    async def end_epoch(self) -> None:
        """Let nothing be cached: no log is followed that could keep it fresh.

        An epoch that another worker began meanwhile may be the one that ends: it begins again, at the cost of misses.
        """
        with redis_errors():
            await self._client.hdel(self.state_key, "epoch")
        await self.beat("")

    async def beat(self, epoch: str) -> None:
        """Tell the processes' own memories that notices still flow."""
        with redis_errors():
            await self._client.publish(self.channel, _pack((epoch, ())))

    # Readers of rows.

    async def look(self, requests: Sequence[tuple[str, Table]]) -> list[Found | None]:
        """The entries under these keys that may be returned, in one round trip; None for each miss."""
        tables = list(dict.fromkeys(table.qualified_name for _, table in requests))
        entries, (epoch, *floors) = await self._caller.replies(
            [
                ("MGET", *(self.entry_key(key) for key, _ in requests)),
                # After the entries: what raised a floor or began an epoch before they were read is seen here.
                ("HMGET", self.state_key, "epoch", *(f"t:{table}" for table in tables)),
            ]
        )
        if epoch is None:
            return [None] * len(requests)
        floor_of = {table: _floor(text) for table, text in zip(tables, floors, strict=True)}
        return [
            self._live(entry, epoch.decode(), table.format, floor_of[table.qualified_name])
            for entry, (_, table) in zip(entries, requests, strict=True)
        ]

    @staticmethod
    def _live(entry: bytes | None, epoch: str, fmt: str, floor: tuple[int, int]) -> Found | None:
        unpacked = unpack(entry) if entry is not None else None
        if unpacked is None:
            return None
        header, body = unpacked
        is_live = (
            header.kind != "p"
            and header.epoch == epoch
            and header.format == fmt
            and (header.lsn > floor[0] or header.completed >= floor[1])
        )
        return Found(header, body) if is_live else None

    async def lease(
        self, key: str, table: Table, *, token: str, lease_ms: int, after: WriteToken | None = None
    ) -> Found | Leased | Held | Unready:
        """Look once more, and take the lease where there is nothing that may be returned."""
        (found,) = await self.lease_many([(key, token)], table, lease_ms=lease_ms, after=after)
        return found

    async def lease_many(
        self, requests: Sequence[tuple[str, str]], table: Table, *, lease_ms: int, after: WriteToken | None = None
    ) -> list[Found | Leased | Held | Unready]:
        """As `lease`, for several keys and the tokens of their leases, in one round trip."""
        write = after or _NO_WRITE
        rest = (lease_ms, write.lsn, write.completed)
        replies = await self._caller.many(
            [
                ("lease", [self.entry_key(key), self.state_key], [table.qualified_name, table.format, token, *rest])
                for key, token in requests
            ]
        )
        return [_leased(reply, token) for reply, (_, token) in zip(replies, requests, strict=True)]

    async def fill(self, key: str, table: Table, *, token: str, body: bytes | None, snapshot: Snapshot) -> bool:
        """Store what was read under the lease; ``body`` None for "no such row". False where it was refused."""
        (stored,) = await self.fill_many([RowFill(key, body, token)], table, snapshot=snapshot)
        return stored

    async def fill_many(self, fills: Sequence[RowFill], table: Table, *, snapshot: Snapshot) -> list[bool]:
        """As `fill`, for several rows that were read in one statement, in one round trip."""
        packed = _pack(snapshot)
        replies = await self._caller.many(
            [
                (
                    "fill",
                    [self.entry_key(fill.key), self.state_key],
                    [
                        table.qualified_name,
                        fill.token,
                        fill.kind,
                        fill.format_of(table),
                        packed,
                        snapshot.completed,
                        table.ttl_s * 1000,
                        fill.stored_body,
                    ],
                )
                for fill in fills
            ]
        )
        return [bool(reply) for reply in replies]

    async def witness(
        self, key: str, table: Table, *, body: bytes | None, snapshot: Snapshot, floor_ttl_ms: int
    ) -> bool:
        """Leave behind what was returned without a lease, so that the next hit is not older."""
        (left,) = await self.witness_many([RowFill(key, body)], table, snapshot=snapshot, floor_ttl_ms=floor_ttl_ms)
        return left

    async def witness_many(
        self, fills: Sequence[RowFill], table: Table, *, snapshot: Snapshot, floor_ttl_ms: int
    ) -> list[bool]:
        """As `witness`, for several rows that were read in one statement, in one round trip."""
        packed = _pack(snapshot)
        replies = await self._caller.many(
            [
                (
                    "witness",
                    [self.entry_key(fill.key), self.state_key],
                    [
                        table.qualified_name,
                        fill.kind,
                        fill.format_of(table),
                        packed,
                        snapshot.completed,
                        table.ttl_s * 1000,
                        floor_ttl_ms,
                        fill.stored_body,
                    ],
                )
                for fill in fills
            ]
        )
        return [bool(reply) for reply in replies]

    # Readers of queries.

    async def look_query(self, key: str, tags: Sequence[str], *, fmt: str) -> Found | None:
        """The cached result under this key, if every one of its tags has the generation that it was filled at."""
        entry, epoch, generations = await self._caller.replies(
            [
                ("GET", self.entry_key(key)),
                ("HGET", self.state_key, "epoch"),
                ("MGET", *map(self.tag_key, tags)),
            ]
        )
        unpacked = unpack(entry) if entry is not None else None
        if unpacked is None or epoch is None or None in generations:
            return None
        header, body = unpacked
        present = tuple((tag, generation.decode()) for tag, generation in zip(tags, generations, strict=True))
        is_live = (
            header.kind == "v" and header.epoch == epoch.decode() and header.format == fmt and header.tags == present
        )
        return Found(header, body) if is_live else None

    async def lease_query(
        self,
        key: str,
        tags: Sequence[str],
        *,
        fmt: str,
        token: str,
        generations: Sequence[str],
        lease_ms: int,
        tag_ttl_ms: int,
        after: WriteToken | None = None,
    ) -> Found | Leased | Held | Unready:
        """Look once more, else take the lease and the tags' generations; ``generations`` serve tags that have none."""
        reply = await self._caller.one(
            "query_lease",
            [self.entry_key(key), self.state_key, *map(self.tag_key, tags)],
            [fmt, token, lease_ms, tag_ttl_ms, (after or _NO_WRITE).completed, *generations, *tags],
        )
        return _leased(reply, token)

    async def fill_query(
        self, key: str, tags: Sequence[str], lease: Leased, *, fmt: str, completed: int, ttl_ms: int, body: bytes
    ) -> bool:
        """Store a result under the generations that were taken before it was read. False where it was refused."""
        reply = await self._caller.one(
            "query_fill",
            [self.entry_key(key), self.state_key, *map(self.tag_key, tags)],
            [lease.token, fmt, completed, ttl_ms, body, *lease.generations, *tags],
        )
        return bool(reply)

    # Writers.

    async def invalidate(
        self,
        token: WriteToken,
        *,
        floor_ttl_ms: int,
        keys: Sequence[tuple[str, str]] = (),
        tags: Sequence[str] = (),
        tables: Sequence[str] = (),
    ) -> None:
        """Make entries (key and table), tags and whole tables older than the write that the token stands for."""
        request = _pack((self.namespace, token.lsn, token.completed, floor_ttl_ms, keys, tags, tables))
        await self._caller.one("invalidate", [self.state_key], [request])


def _floor(text: bytes | None) -> tuple[int, int]:
    if text is None:
        return 0, 0
    lsn, _, completed = text.partition(b":")
    return int(lsn), int(completed)


def _leased(reply: Sequence[Any], token: str) -> Found | Leased | Held | Unready:
    match reply:
        case [b"hit", entry, _]:
            unpacked = unpack(entry)
            return Found(*unpacked) if unpacked is not None else Unready()
        case [b"lease", *generations]:
            return Leased(token, tuple(generation.decode() for generation in generations))
        case [b"held", remaining_ms]:
            return Held(int(remaining_ms))
        case _:
            return Unready()
