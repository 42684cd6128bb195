"""Dead letters as an operator sees them: one for each record, however many groups refused it; and sending one again.

That a record was sent again is remembered in the same topic, by a mark of its origin, and so for as long as the letter
itself. Sent twice after a crash in between, a record does no harm: what it says is contained already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from consumers.letters import HEADER_PREFIX
from infra.kafka.browser import open_browser
from infra.kafka.log import Record
from infra.kafka.producer import Producer
from infra.settings import Settings
from schemas.errors import FreshlineError

REPLAYED: Final = "replayed"
_FACTS: Final = frozenset(
    {
        "topic",
        "partition",
        "offset",
        "timestamp-ms",
        "group",
        "reason",
        "detail",
        "refused-at-ms",
        "truncated",
        REPLAYED,
    }
)

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
        value: as it was, unless it was cut.
        headers: as they were.
        refusals: why, by group.
        cut_from_bytes: how large the value was, where it was too large to be kept whole.
        replayed_at_ms: when it was last sent again, in milliseconds since 1970.
    """

    origin: Origin
    key: bytes | None
    value: bytes | None
    headers: Headers
    refusals: dict[str, Refusal] = msgspec.field(default_factory=dict)
    cut_from_bytes: int | None = None
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
            with suppress(ValueError, UnknownLetterError):
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
        Those that were sent again before, or whose value was not kept whole.

    Raises:
        StoreUnavailableError: Kafka does not answer.
    """
    left_out = []
    async with Producer(settings.kafka.client_arguments()) as producer:
        for letter in letters:
            if letter.cut_from_bytes is not None or (letter.replayed_at_ms is not None and not again):
                left_out.append(letter)
                continue
            origin = letter.origin
            mark = (HEADER_PREFIX + REPLAYED, str(origin).encode())
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
                headers=[mark, (HEADER_PREFIX + "at-ms", str(_now_ms()).encode())],
            )
            done(letter)
    return left_out


def _add(record: Record, letters: dict[Origin, Letter], replayed: dict[Origin, int]) -> None:
    headers = [(name, bytes(value or b"")) for name, value in record.headers]
    if record.value is None and headers and headers[0][0] == HEADER_PREFIX + REPLAYED and len(headers) == 2:  # noqa: PLR2004 - the mark's two
        replayed[Origin.parse(headers[0][1].decode())] = int(headers[1][1])
        return
    facts, own = _take_apart(headers)
    if facts is None:
        return
    origin = Origin(facts["topic"], int(facts["partition"]), int(facts["offset"]))
    refusal = Refusal(facts["group"], facts["reason"], facts["detail"], int(facts["refused-at-ms"]))
    letter = letters.setdefault(origin, Letter(origin, record.key, record.value, own))
    letter.refusals[refusal.group] = refusal
    if "truncated" in facts:
        letter.cut_from_bytes = int(facts["truncated"])


def _take_apart(headers: Headers) -> tuple[Mapping[str, str] | None, Headers]:
    """What the letter says of its record, and the record's own headers before that.

    The record may have carried headers of the same names: it was sent again once, or means ill. Ours come last.
    """
    facts: dict[str, str] = {}
    end = len(headers)
    while end:
        name, value = headers[end - 1]
        fact = name.removeprefix(HEADER_PREFIX)
        if not name.startswith(HEADER_PREFIX) or fact not in _FACTS - {REPLAYED} or fact in facts:
            break
        facts[fact] = value.decode(errors="replace")
        end -= 1
    if not {"topic", "partition", "offset", "group", "reason", "detail", "refused-at-ms"} <= set(facts):
        return None, headers
    return facts, headers[:end]


def _now_ms() -> int:
    return int(time.time() * 1000)
