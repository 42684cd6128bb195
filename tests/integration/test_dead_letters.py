"""Dead letters: one line for each record however many refused it, sent again once, on a real Kafka."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import pytest

from consumers.letters import Letters
from freshline.dead_letters import Letter, Origin, UnknownLetterError, chosen, read_letters, replay
from freshline.source.topics import apply_topics
from infra.kafka.browser import open_browser
from infra.kafka.log import Record
from infra.kafka.producer import Producer
from infra.settings import Settings
from schemas.errors import MalformedRecordError
from schemas.voiceassist import VOICEASSIST
from tests.conftest import MakeSettings

GROUPS = ("write-through", "invalidation")


@pytest.fixture
async def settings(make_settings: MakeSettings) -> Settings:
    made = make_settings()
    await apply_topics(made, VOICEASSIST)
    return made


@pytest.fixture
async def producer(settings: Settings) -> AsyncIterator[Producer]:
    async with Producer(settings.kafka.client_arguments()) as opened:
        yield opened


async def records(settings: Settings) -> list[Record]:
    """What lies on the topic of users, in the order of offsets."""
    async with open_browser(settings.kafka.client_arguments()) as browser:
        found = [record async for record in browser.read(settings.table_topic("public.users"))]
    return sorted(found, key=lambda record: record.offset)


async def refuse(settings: Settings, producer: Producer, value: bytes, groups: tuple[str, ...] = GROUPS) -> Record:
    """Put a record on the topic, and let these groups refuse it."""
    topic = settings.table_topic("public.users")
    await producer.send(topic, key=b'{"id":1}', value=value, headers=[("trace", b"7")], partition=0)
    record = (await records(settings))[-1]
    for group in groups:
        letters = Letters(producer, topic=settings.dead_letter_topic, group=group)
        await letters.send([(record, MalformedRecordError("not_json", "the value is not JSON"))])
    return record


async def sent_again(settings: Settings, letters: list[Letter], *, again: bool = False) -> list[Origin]:
    done: list[Letter] = []
    await replay(settings, letters, again=again, done=done.append)
    return [letter.origin for letter in done]


async def test_a_record_that_two_groups_refused_is_one_letter(settings: Settings, producer: Producer) -> None:
    record = await refuse(settings, producer, b"nonsense")
    (letter,) = await read_letters(settings)
    assert letter.origin == Origin(record.topic, 0, record.offset)
    assert set(letter.refusals) == set(GROUPS)
    assert (letter.key, letter.value, list(letter.headers)) == (b'{"id":1}', b"nonsense", [("trace", b"7")])
    assert Origin.parse(str(letter.origin)) == letter.origin


async def test_a_letter_is_sent_again_as_it_was_and_only_once(settings: Settings, producer: Producer) -> None:
    await refuse(settings, producer, b"nonsense")
    first = await read_letters(settings)
    assert await sent_again(settings, first) == [first[0].origin]
    assert await sent_again(settings, await read_letters(settings)) == []
    original, copy = await records(settings)
    assert (copy.key, copy.value, copy.partition) == (original.key, original.value, original.partition)
    assert ("trace", b"7") in copy.headers
    assert await sent_again(settings, await read_letters(settings), again=True) == [first[0].origin]


async def test_a_record_refused_anew_is_a_new_letter(settings: Settings, producer: Producer) -> None:
    await refuse(settings, producer, b"nonsense")
    await sent_again(settings, await read_letters(settings))
    copy = (await records(settings))[-1]
    letters = Letters(producer, topic=settings.dead_letter_topic, group="write-through")
    await letters.send([(copy, MalformedRecordError("not_json", "still not"))])
    old, new = await read_letters(settings)
    assert old.replayed_at_ms is not None
    assert new.replayed_at_ms is None
    assert new.origin.offset == copy.offset


async def test_what_could_not_be_kept_whole_is_never_sent_again(settings: Settings, producer: Producer) -> None:
    record = dataclasses.replace(await refuse(settings, producer, b"nonsense", ()), value=b"x" * 21 * 1024 * 1024)
    letters = Letters(producer, topic=settings.dead_letter_topic, group="write-through")
    await letters.send([(record, MalformedRecordError("too_large", "it is too large"))])
    (letter,) = await read_letters(settings)
    assert letter.left_out_bytes is not None
    assert letter.left_out_bytes > 21 * 1024 * 1024
    assert await sent_again(settings, [letter], again=True) == []


async def test_nonsense_among_the_letters_is_passed_over(settings: Settings, producer: Producer) -> None:
    for headers in ([], [("freshline-topic", b"x")], [("freshline-replayed", b"a/b/c"), ("freshline-at-ms", b"y")]):
        await producer.send(settings.dead_letter_topic, key=b"k", headers=headers)
    await refuse(settings, producer, b"nonsense")
    assert len(await read_letters(settings)) == 1


async def test_an_unknown_origin_is_named(settings: Settings, producer: Producer) -> None:
    await refuse(settings, producer, b"nonsense")
    with pytest.raises(UnknownLetterError, match="nowhere/0/1"):
        chosen(await read_letters(settings), [Origin("nowhere", 0, 1)])
