"""Cached answers in Redis: where it is said whether one may be given, since all of its sources are as they were.

    look ▸ (hit)          generations of what will be read ▸ (search, produce) ▸ fill, refused where one has changed

An answer lies under ``<ns>:answer:<id>`` with its tags and their generations in its header, as a cached query does.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from redis.asyncio import Redis

from infra.redis.calls import ScriptCaller, redis_errors
from schemas.entry import unpack

# Of what an answer's entry holds; another one is a miss.
_FORMAT: Final = "a1"
# Who produces is held by this name alone: whoever is too late lets go of nobody else's.
_RELEASE: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"
_pack = msgspec.msgpack.Encoder().encode


class Generations(msgspec.Struct, frozen=True):
    """Generations of tags, taken in one epoch before what they stand for is read."""

    epoch: str
    by_tag: Mapping[str, str]


class LookedAt(msgspec.Struct, frozen=True):
    """What lies under an answer's id.

    Attributes:
        status: ``live`` where it may be given, ``stale`` where one of its sources has changed, else ``none``.
        body: of the entry; empty where there is none.
        written_at_ms: when it was stored, in milliseconds since 1970.
    """

    status: Literal["live", "stale", "none"]
    body: bytes = b""
    written_at_ms: int = 0


class AnswerEntries:
    """The answers of one namespace. Takes an open client with binary replies; closes nothing."""

    def __init__(self, client: Redis, namespace: str) -> None:
        """Prepare; no I/O."""
        self._client = client
        self._namespace = namespace
        self._state_key = f"{namespace}:state"
        self._caller = ScriptCaller(client)

    async def look(self, answers: Sequence[str]) -> list[LookedAt]:
        """What lies under these ids, in one round trip.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        keys = [self._state_key, *map(self._entry, answers)]
        replies = await self._caller.one("answer_look", keys, [self._namespace, _FORMAT])
        return [_looked_at(reply) for reply in replies]

    async def used(self, answer: str, scope: str) -> None:
        """Note that it was given just now, so that others go before it.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        # By this process's clock: clocks that differ a little only make the order a little different.
        now_ms = int(time.time() * 1000)
        await self._caller.replies([("ZADD", self._uses(scope), "XX", now_ms, answer)])

    async def generations(self, tags: Sequence[str], *, tag_ttl_ms: int) -> Generations | None:
        """The generations of these tags; None where nothing may be cached.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        fresh = [secrets.token_hex(8) for _ in tags]
        keys = [self._state_key, *(f"{self._namespace}:tag:{tag}" for tag in tags)]
        reply = await self._caller.one("generations", keys, [tag_ttl_ms, *fresh])
        if not reply:
            return None
        epoch, *found = (each.decode() for each in reply)
        return Generations(epoch, dict(zip(tags, found, strict=True)))

    async def fill(
        self, answer: str, generations: Generations, *, scope: str, body: bytes, ttl_ms: int, most: int
    ) -> tuple[str, list[str]]:
        """Store an answer, if its sources are as they were when their generations were taken.

        Args:
            answer: its id.
            generations: of everything that it was made from, each taken before it was read.
            scope: whose answers it is counted among.
            body: what is stored.
            ttl_ms: how long it lives, in milliseconds.
            most: how many answers the scope keeps.

        Returns:
            ``stored``, ``changed`` or ``pending``, and the ids of answers that had to go.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        tags = list(generations.by_tag.items())
        request = (self._namespace, generations.epoch, _FORMAT, answer, ttl_ms, most, _text(body), tags)
        keys = [self._entry(answer), self._state_key, self._uses(scope)]
        done, *rest = await self._caller.one("answer_fill", keys, [_pack(request)])
        names = [each.decode() for each in rest]
        return ("stored", names) if done else (names[0], [])

    async def remove(self, answer: str, scope: str) -> None:
        """Give this answer no more.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        await self._caller.replies([("DEL", self._entry(answer)), ("ZREM", self._uses(scope), answer)])

    async def hold(self, answer: str, *, lease_ms: int) -> str | None:
        """Take the right to produce an answer; None where another has it.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        token = secrets.token_hex(8)
        with redis_errors():
            return token if await self._client.set(self._producer(answer), token, nx=True, px=lease_ms) else None

    async def is_held(self, answer: str) -> bool:
        """Whether somebody has the right to produce an answer.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        (found,) = await self._caller.replies([("EXISTS", self._producer(answer))])
        return bool(found)

    async def release(self, answer: str, token: str) -> None:
        """Give that right back.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        with redis_errors():
            await self._client.eval(_RELEASE, 1, self._producer(answer), token)

    def _entry(self, answer: str) -> str:
        return f"{self._namespace}:answer:{answer}"

    def _producer(self, answer: str) -> str:
        return f"{self._namespace}:semantic:producer:{answer}"

    def _uses(self, scope: str) -> str:
        return f"{self._namespace}:answers:{scope}"


def _text(body: bytes) -> msgspec.Raw:
    """Bytes as Redis's cmsgpack takes them: a msgpack string of 32-bit length."""
    return msgspec.Raw(b"\xdb" + len(body).to_bytes(4, "big") + body)


def _looked_at(reply: Sequence[Any]) -> LookedAt:
    match reply:
        case [b"live" | b"stale" as status, entry]:
            unpacked = unpack(entry)
            if unpacked is None:
                return LookedAt("none")
            header, body = unpacked
            return LookedAt("live" if status == b"live" else "stale", body, header.written_at_ms)
        case _:
            return LookedAt("none")
