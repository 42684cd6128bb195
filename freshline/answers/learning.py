"""What is learned of cached questions from reports and comparisons, kept in Redis for all processes.

A report counts once: the ticket of an answer that was given is used up by it. Tickets are sealed, since whoever could
make one might teach anything.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar, cast

import msgspec
from redis.asyncio import Redis

from freshline.answers.thresholds import Observations, Pooled
from infra.redis.calls import redis_errors
from schemas.errors import FreshlineError

T = TypeVar("T")

# Longer than answers live: a question that is asked again is the same one.
_REMEMBERED_MS: Final = 30 * 24 * 3_600_000


class TicketError(FreshlineError):
    """What was reported is not the id of an answer."""


class Ticket(msgspec.Struct, frozen=True):
    """What is to be known of an answer that was given, when it is reported on.

    Attributes:
        answer: the id of the cached answer.
        scope: it is counted in.
        similarity: of the question that was asked to the cached one; 1 where it was the same.
        explore_probability: of the decision to give it; 0 where there was none.
        number: tells it from others.
    """

    answer: str
    scope: str
    similarity: float = 1.0
    explore_probability: float = 0.0
    number: str = msgspec.field(default_factory=lambda: secrets.token_hex(6))


class Learned:
    """The observations of one namespace. Takes an open client with binary replies; closes nothing."""

    def __init__(self, client: Redis, namespace: str) -> None:
        """Prepare; no I/O."""
        self._client = client
        self._prefix = f"{namespace}:semantic:observed"
        self._pooled = f"{namespace}:semantic:pooled"
        self._tickets = f"{namespace}:semantic:ticket"
        self._secret_key = f"{namespace}:semantic:secret"
        self._secret: bytes | None = None

    async def sealed(self, ticket: Ticket) -> str:
        """A ticket as callers get it: nobody else can make one, or change what it says.

        Raises:
            StoreUnavailableError: Redis does not answer, and never did.
        """
        text = msgspec.json.encode(msgspec.structs.astuple(ticket))
        return f"{text.hex()}.{self._seal(text, await self._known_secret())}"

    async def opened(self, sealed: str) -> Ticket:
        """The ticket that was sealed.

        Raises:
            TicketError: it is none of ours.
            StoreUnavailableError: Redis does not answer, and never did.
        """
        written, _, seal = sealed.partition(".")
        secret = await self._known_secret()
        try:
            text = bytes.fromhex(written)
        except ValueError:
            text = b""
        if not hmac.compare_digest(seal.encode(), self._seal(text, secret).encode()):
            raise TicketError(f"{sealed[:40]!r} is not the id of an answer: report the `id` of what was given.")
        return Ticket(*msgspec.json.decode(text, type=tuple[str, str, float, float, str]))

    @staticmethod
    def _seal(text: bytes, secret: bytes) -> str:
        return hmac.new(secret, text, hashlib.sha256).hexdigest()[:24]

    async def _known_secret(self) -> bytes:
        """The namespace's secret, made by whoever needs it first."""
        if self._secret is None:
            with redis_errors():
                await self._client.set(self._secret_key, secrets.token_bytes(32), nx=True)
                self._secret = cast("bytes", await self._client.get(self._secret_key))
        return self._secret

    async def known(self, answers: Sequence[str]) -> tuple[list[Observations], Pooled]:
        """What is known of each of these cached questions, and of all there are.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        with redis_errors():
            pooled, *found = await self._client.mget(self._pooled, *map(self._key, answers))
        return [_unpacked(Observations, each) for each in found], _unpacked(Pooled, pooled)

    async def reported(self, ticket: Ticket, *, correct: bool) -> bool:
        """Learn from a report; False where it was made before.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        with redis_errors():
            key = f"{self._tickets}:{ticket.number}"
            if not await self._client.set(key, b"1", nx=True, px=_REMEMBERED_MS):
                return False
        explored = ticket.explore_probability
        await self._learn(ticket.answer, ticket.similarity, correct, served=True, explore_probability=explored)
        return True

    async def compared(self, answer: str, similarity: float, *, correct: bool, explore_probability: float) -> None:
        """Learn from an answer that was made anew and compared with the cached one.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        await self._learn(answer, similarity, correct, served=False, explore_probability=explore_probability)

    async def _learn(
        self, answer: str, similarity: float, correct: bool, *, served: bool, explore_probability: float
    ) -> None:
        key = self._key(answer)

        async def change(pipe: Any) -> None:
            before = _unpacked(Observations, await pipe.get(key))
            pooled = _unpacked(Pooled, await pipe.get(self._pooled))
            after = before.with_observation(similarity, correct)
            pooled = pooled.with_outcome(
                before, similarity, correct, served=served, explore_probability=explore_probability
            )
            pipe.multi()
            pipe.set(key, after.pack(), px=_REMEMBERED_MS)
            pipe.set(self._pooled, pooled.pack())

        with redis_errors():
            await cast("Callable[..., Awaitable[Any]]", self._client.transaction)(change, key, self._pooled)

    def _key(self, answer: str) -> str:
        return f"{self._prefix}:{answer}"


def _unpacked(kind: type[T], packed: Any) -> T:
    """From what is stored; nothing known where there is nothing, or it is of another version."""
    if packed is None:
        return kind()
    try:
        return cast("T", cast("Any", kind).unpack(packed))
    except (msgspec.DecodeError, ValueError):
        return kind()
