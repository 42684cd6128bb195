"""Reads rows of one table through the tiers.

    L1 ▸ look in L2 ▸ lease ┬ hit
                            ├ leased ▸ Postgres ▸ fill (refused ▸ witness)
                            ├ held by another ▸ wait ▸ lease again ▸ … ▸ Postgres ▸ witness
                            └ unready, or Redis is away ▸ Postgres, a few at a time

A batch goes the same way: one look, all leases in one round trip, one statement for all that are read.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from freshline.guards import PastStoreError
from freshline.l1 import Copy, Position
from freshline.tiers import Answer, Fillers, Patience, Tiers, copy_of, serves
from infra.redis.coherence import Found, Held, Leased
from infra.redis.row_fill import RowFill
from schemas.catalog import Table, family_tag
from schemas.column_forms import parse_type
from schemas.errors import CatalogError
from schemas.token import WriteToken
from schemas.wal import Snapshot

_MANY: Final = 500
_LONG: Final = 1 << 63
_REMEMBERED_TOO_LARGE: Final = 10_000


class RowKey(msgspec.Struct, frozen=True):
    """A row that is asked for: the key of its entry, and the texts of its key columns' values."""

    name: str
    texts: tuple[str, ...]


class Rows:
    """Reads the rows of one table."""

    def __init__(self, table: Table, tiers: Tiers, *, floor_ttl_ms: int) -> None:
        """``floor_ttl_ms`` is how long what a witness leaves behind lives in Redis.

        Raises:
            CatalogError: rows of the table are not cached one by one.
        """
        if table.entry_template is None:
            raise CatalogError(
                f"Rows of {table.qualified_name} are not cached one by one: its catalog entry has no `entry`. "
                "Give it one, or cache a query over it."
            )
        self.table = table
        self._template = table.entry_template
        self._prefix = f"{table.entry_template.family}:"
        # Nearly all keys are of one int8, whose text needs no care.
        self._has_long_key = [parse_type(column_type).name for column_type in table.key_types] == ["int8"]
        self._family = family_tag(table.entry_template.family)
        self._tiers = tiers
        self._timing = tiers.timing
        self._floor_ttl_ms = floor_ttl_ms
        self._fillers = Fillers()
        self._l2_hits = tiers.metrics.hits.labels("l2")
        self._l2_misses = tiers.metrics.misses.labels("l2")
        self._database_hits = tiers.metrics.hits.labels("database")
        # Rows that were found too large lately: nobody should wait for a fill that never comes.
        self._too_large: OrderedDict[str, None] = OrderedDict()

    def key(self, values: Sequence[object]) -> RowKey:
        """The row with these values of the key columns.

        Raises:
            KeyValueError: no row can have them.
        """
        texts = self.table.key_texts(values)
        return RowKey(self._template.fill(texts), texts)

    def name(self, values: Sequence[object]) -> str:
        """The key of the entry of the row with these values.

        Raises:
            KeyValueError: no row can have them.
        """
        if self._has_long_key and len(values) == 1:
            value = values[0]
            if type(value) is int and -_LONG <= value < _LONG:
                return f"{self._prefix}{value}"
        return self.key(values).name

    # Past the cache.

    async def read_database(self, keys: Sequence[RowKey], reason: str) -> Mapping[str, Copy]:
        """What Postgres holds now.

        Raises:
            StoreUnavailableError: Postgres does not answer.
        """
        copies, _ = await self._read(keys, reason)
        return copies

    # Through the tiers.

    async def read(self, keys: Sequence[RowKey], token: WriteToken | None = None) -> dict[str, Answer]:
        """These rows, of which L1 has none that would do.

        Args:
            keys: which rows.
            token: of a write that each of them must contain.

        Raises:
            StoreUnavailableError: a row is in no cache, and Postgres does not answer.
            OverloadedError: a row is in no cache, and too many reads are at Postgres already.
        """
        answers: dict[str, Answer] = {}
        wanted = {key.name: key for key in keys}
        names = list(wanted)
        for start in range(0, len(names), _MANY):
            await self._read_some({name: wanted[name] for name in names[start : start + _MANY]}, token, answers)
        return answers

    async def _read_some(
        self, missing: dict[str, RowKey], token: WriteToken | None, answers: dict[str, Answer]
    ) -> None:
        try:
            await self._look(missing, token, answers)
            if not missing:
                return
            await self._read_too_large(missing, answers)
            patience = Patience(self._timing.row_wait_s)
            while missing:
                await self._lease(missing, token, answers, patience)
        except PastStoreError:
            await self._past(missing, "redis_away", answers)

    async def _look(self, missing: dict[str, RowKey], token: WriteToken | None, answers: dict[str, Answer]) -> None:
        position = self._tiers.l1.position()
        with self._tiers.breaker.guard():
            found = await self._tiers.coherence.look([(name, self.table) for name in missing])
        for name, entry in zip(tuple(missing), found, strict=True):
            if entry is not None:
                self._accept(name, entry, position, token, answers)
        for name in answers:
            missing.pop(name, None)
        if missing:
            self._l2_misses.inc(len(missing))

    def _accept(
        self, name: str, found: Found, since: Position | None, token: WriteToken | None, answers: dict[str, Answer]
    ) -> None:
        copy = copy_of(found)
        if serves(copy, token):
            answers[name] = Answer(copy, "l2")
            self._l2_hits.inc()
            self._keep(name, copy, since)

    async def _lease(
        self, missing: dict[str, RowKey], token: WriteToken | None, answers: dict[str, Answer], patience: Patience
    ) -> None:
        """Ask for the leases of all that is missing, and do what the replies say."""
        position = self._tiers.l1.position()
        requests = [(name, secrets.token_hex(8)) for name in missing]
        lease_ms = round(self._timing.row_lease_s * 1000)
        with self._tiers.breaker.guard():
            replies = await self._tiers.coherence.lease_many(requests, self.table, lease_ms=lease_ms, after=token)
        leased: dict[str, str] = {}
        held: dict[str, float] = {}
        unready: dict[str, RowKey] = {}
        for (name, lease_token), reply in zip(requests, replies, strict=True):
            match reply:
                case Found():
                    self._accept(name, reply, position, token, answers)
                    missing.pop(name)
                case Leased():
                    leased[name] = lease_token
                case Held(remaining_ms):
                    held[name] = remaining_ms / 1000
                case _:
                    unready[name] = missing[name]
        await self._fill(missing, leased, answers)
        if unready:
            await self._past(unready, "unready", answers)
            for name in answers:
                missing.pop(name, None)
        if held and not await self._fillers.wait(held, patience.remaining_s):
            await patience.pause(min(held.values()))
        if held and not patience.remaining_s:
            await self._read_witnessed({name: missing.pop(name) for name in held}, "held", answers)

    async def _fill(self, missing: dict[str, RowKey], leased: Mapping[str, str], answers: dict[str, Answer]) -> None:
        """Read and store what we hold the leases of."""
        if not leased:
            return
        keys = {name: missing[name] for name in leased}
        with self._fillers.filling(leased):
            position = self._tiers.l1.position()
            copies, snapshot = await self._read(list(keys.values()), "fill")
            self._answer(copies, answers)
            for name in leased:
                missing.pop(name)
            fills = self._fills(copies, leased)
            try:
                with self._tiers.breaker.guard():
                    stored = await self._tiers.coherence.fill_many(fills, self.table, snapshot=snapshot)
            except PastStoreError:
                self._tiers.metrics.fills.labels("lost").inc(len(fills))
                raise
            refused = [fill for fill, is_stored in zip(fills, stored, strict=True) if not is_stored]
            self._count_fills(fills, refused)
            for fill in fills:
                if fill not in refused:
                    self._keep_fill(fill, copies[fill.key], position)
            if refused:
                await self._witness(refused, snapshot, copies, position)

    async def _read_witnessed(self, keys: Mapping[str, RowKey], reason: str, answers: dict[str, Answer]) -> None:
        """Read past a lease, and leave behind what was seen."""
        position = self._tiers.l1.position()
        async with self._tiers.limit.turn():
            copies, snapshot = await self._read(list(keys.values()), reason)
        self._answer(copies, answers)
        await self._witness(self._fills(copies, {}), snapshot, copies, position)

    async def _read_too_large(self, missing: dict[str, RowKey], answers: dict[str, Answer]) -> None:
        known = {name: missing.pop(name) for name in tuple(missing) if name in self._too_large}
        if known:
            await self._read_witnessed(known, "too_large", answers)

    async def _past(self, keys: Mapping[str, RowKey], reason: str, answers: dict[str, Answer]) -> None:
        """Read without touching the caches."""
        if keys:
            async with self._tiers.limit.turn():
                self._answer(await self.read_database(list(keys.values()), reason), answers)

    # Parts.

    async def _read(self, keys: Sequence[RowKey], reason: str) -> tuple[dict[str, Copy], Snapshot]:
        self._tiers.metrics.database_reads.labels(reason).inc()
        found = await self._tiers.rows.read(self.table, [key.texts for key in keys])
        completed = found.snapshot.completed
        copies = {key.name: Copy(body, 0, completed) for key, body in zip(keys, found.bodies, strict=True)}
        return copies, found.snapshot

    def _answer(self, copies: Mapping[str, Copy], answers: dict[str, Answer]) -> None:
        answers |= {name: Answer(copy, "database") for name, copy in copies.items()}
        self._database_hits.inc(len(copies))

    def _fills(self, copies: Mapping[str, Copy], tokens: Mapping[str, str]) -> list[RowFill]:
        fills = []
        for name, copy in copies.items():
            is_too_large = copy.body is not None and len(copy.body) > self.table.limit_bytes
            self._remember_size(name, is_too_large=is_too_large)
            fills.append(RowFill(name, copy.body, tokens.get(name, ""), is_too_large))
        return fills

    def _remember_size(self, name: str, *, is_too_large: bool) -> None:
        if is_too_large:
            self._too_large[name] = None
            if len(self._too_large) > _REMEMBERED_TOO_LARGE:
                self._too_large.popitem(last=False)
        else:
            self._too_large.pop(name, None)

    def _count_fills(self, fills: Sequence[RowFill], refused: Sequence[RowFill]) -> None:
        too_large = sum(fill.is_too_large for fill in fills if fill not in refused)
        counts = {"stored": len(fills) - len(refused) - too_large, "too_large": too_large, "refused": len(refused)}
        for outcome, count in counts.items():
            if count:
                self._tiers.metrics.fills.labels(outcome).inc(count)

    async def _witness(
        self, fills: Sequence[RowFill], snapshot: Snapshot, copies: Mapping[str, Copy], since: Position | None
    ) -> None:
        with self._tiers.breaker.guard():
            left = await self._tiers.coherence.witness_many(
                fills, self.table, snapshot=snapshot, floor_ttl_ms=self._floor_ttl_ms
            )
        for fill, is_left in zip(fills, left, strict=True):
            if is_left:
                self._keep_fill(fill, copies[fill.key], since)

    def _keep_fill(self, fill: RowFill, copy: Copy, since: Position | None) -> None:
        if not fill.is_too_large:
            self._keep(fill.key, copy, since)

    def _keep(self, name: str, copy: Copy, since: Position | None) -> None:
        self._tiers.l1.keep(name, (name, self._family), copy, since=since, ttl_s=self.table.ttl_s)
