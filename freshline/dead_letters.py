"""Dead letters as an operator sees them: one for each record, however many groups refused it; and sending one again.

That a record was sent again is remembered in the same topic, by a mark of its origin, and so for as long as the letter
itself. Sent twice after a crash in between, a record does no harm: what it says is contained already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from consumers.letters import HEADER_PREFIX, LEFT_OUT
from infra.kafka.browser import open_browser
from infra.kafka.log import Record
from infra.kafka.producer import Producer
from infra.settings import Settings
from schemas.errors import FreshlineError

REPLAYED: Final = HEADER_PREFIX + "replayed"
_REPLAYED_AT: Final = HEADER_PREFIX + "at-ms"

Headers = Sequence[tuple[str, bytes]]


class UnknownLetterError(FreshlineError):
    """No letter of that origin is kept."""


class Origin(msgspec.Struct, frozen=True, order=True):
    """Where a record came from."""

    topic: str
    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> Origin:
        """Read back what ``str`` gave.

        Raises:
            UnknownLetterError: the text is no origin.
        """
        try:
            topic, partition, offset = text.rsplit("/", 2)
            return cls(topic, int(partition), int(offset))
        except ValueError as error:
            raise UnknownLetterError(
                f"{text!r} is not where a record came from: write topic/partition/offset, as `freshline dead-letters "
                "list` does."
            ) from error

    def __str__(self) -> str:
        """``topic/partition/offset``."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class Refusal(msgspec.Struct, frozen=True):
    """Why one group could not use the record."""

    group: str
    reason: str
    detail: str
    at_ms: int


class Letter(msgspec.Struct):
    """One record that could not be used.

    Attributes:
        origin: where it came from.
        key: as it was.
        value: as it was.
        headers: as they were.
        refusals: why, by group.
        left_out_bytes: how large key and value were, where they could not be kept (0 if unknown); else None.
        replayed_at_ms: when it was last sent again, in milliseconds since 1970.
    """

    origin: Origin
    key: bytes | None
    value: bytes | None
    headers: Headers
    refusals: dict[str, Refusal] = msgspec.field(default_factory=dict)
    left_out_bytes: int | None = None
    replayed_at_ms: int | None = None

    @property
    def refused_at_ms(self) -> int:
        """When it was first refused."""
        return min(refusal.at_ms for refusal in self.refusals.values())


async def read_letters(settings: Settings) -> list[Letter]:
    """Every letter that is kept, the oldest first.

    Raises:
        TopicMissingError: there is no topic of dead letters.
        StoreUnavailableError: Kafka does not answer.
    """
    settings.require(["kafka"])
    letters: dict[Origin, Letter] = {}
    replayed: dict[Origin, int] = {}
    async with open_browser(settings.kafka.client_arguments()) as browser:
        async for record in browser.read(settings.dead_letter_topic):
            # Whoever may write there may also write nonsense.
            with suppress(KeyError, ValueError, UnknownLetterError):
                _add(record, letters, replayed)
    for origin, at_ms in replayed.items():
        if origin in letters:
            letters[origin].replayed_at_ms = at_ms
    return sorted(letters.values(), key=lambda letter: (letter.refused_at_ms, letter.origin))


def chosen(letters: Iterable[Letter], origins: Collection[Origin]) -> list[Letter]:
    """The letters of these origins, in the order of the letters.

    Raises:
        UnknownLetterError: names every origin that no letter has.
    """
    found = [letter for letter in letters if letter.origin in origins]
    missing = sorted(set(origins) - {letter.origin for letter in found})
    if missing:
        raise UnknownLetterError(
            f"No dead letter comes from {', '.join(map(str, missing))}. `freshline dead-letters list` shows all."
        )
    return found


async def replay(
    settings: Settings, letters: Iterable[Letter], *, again: bool = False, done: Callable[[Letter], None]
) -> list[Letter]:
    """Send these records again to where they came from, and return those that were left out.

    Args:
        settings: where Kafka is.
        letters: what to send, in this order.
        again: also those that were sent again already.
        done: called for each that was sent.

    Returns:
        Those that were sent again before, or that could not be kept whole.

    Raises:
        StoreUnavailableError: Kafka does not answer.
    """
    left_out = []
    async with Producer(settings.kafka.client_arguments()) as producer:
        for letter in letters:
            if letter.left_out_bytes is not None or (letter.replayed_at_ms is not None and not again):
                left_out.append(letter)
                continue
            origin = letter.origin
            mark = (REPLAYED, str(origin).encode())
            await producer.send(
                origin.topic,
                key=letter.key,
                value=letter.value,
                headers=[*letter.headers, mark],
                # The key's own partition, whatever partitioner its producer had.
                partition=origin.partition,
            )
            await producer.send(
                settings.dead_letter_topic,
                key=mark[1],
                headers=[mark, (_REPLAYED_AT, str(_now_ms()).encode())],
            )
            done(letter)
    return left_out


def _add(record: Record, letters: dict[Origin, Letter], replayed: dict[Origin, int]) -> None:
    headers = [(name, bytes(value or b"")) for name, value in record.headers]
    facts = {name: value.decode() for name, value in headers if name.startswith(HEADER_PREFIX)}
    if facts.keys() == {REPLAYED, _REPLAYED_AT}:
        replayed[Origin.parse(facts[REPLAYED])] = int(facts[_REPLAYED_AT])
        return

    def fact(name: str) -> str:
        return facts[HEADER_PREFIX + name]

    origin = Origin(fact("topic"), int(fact("partition")), int(fact("offset")))
    refusal = Refusal(fact("group"), fact("reason"), fact("detail"), int(fact("refused-at-ms")))
    own = [header for header in headers if not header[0].startswith(HEADER_PREFIX)]
    letter = letters.setdefault(origin, Letter(origin, record.key, record.value, own))
    letter.refusals[refusal.group] = refusal
    if LEFT_OUT in facts:
        letter.left_out_bytes = int(facts[LEFT_OUT])


def _now_ms() -> int:
    return int(time.time() * 1000)
