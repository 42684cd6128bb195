"""Bad input on real servers: no worker stops, no partition blocks, no copy that a record may have changed is served."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c

from freshline.dead_letters import Letter, read_letters, replay
from schemas.voiceassist import VOICEASSIST
from tests.bad_input.corpus import (
    APPLIED,
    CONTAINED,
    COUNTED,
    INVALIDATES,
    BadRecord,
    placed,
    request_corpus,
    table_corpus,
)
from tests.bad_input.subjects import row, subject
from tests.conftest import MakeSettings
from tests.integration.worker_ground import (
    INVALIDATION,
    SIZES,
    WRITE_THROUGH,
    Ground,
    Place,
    encoded,
    envelope,
    eventually,
    open_ground,
    user,
)

TABLES = ("users", "conversations", "documents", "messages")
NO_LETTER = {APPLIED, CONTAINED, COUNTED, INVALIDATES}
# Records of 10 MB go on one topic alone: the others would only take longer.
LARGE_BYTES = 1 << 20


@pytest.fixture
async def ground(make_settings: MakeSettings) -> AsyncIterator[Ground]:
    async with open_ground(make_settings(topics=SIZES)) as ground:
        yield ground


class Feed:
    """Puts records on one topic, in both partitions by turns, and knows their offsets: nobody else writes there."""

    def __init__(self, ground: Ground, table: str, groups: tuple[str, ...]) -> None:
        self.ground = ground
        self.table = table
        self.topic = ground.settings.invalidate_topic if table == "invalidate" else ground.topic(table)
        self.groups = groups
        self.offsets: Counter[int] = Counter()
        self.partition = 0

    async def send(self, key: Any, value: Any, headers: Any = ()) -> int:
        """Put a record there, wait until every group has applied it, and return its offset."""
        await self.ground.send(self.table, key, value, headers=headers, partition=self.partition)
        offset = self.offsets[self.partition]
        self.offsets[self.partition] += 1
        name = f"{self.topic}/{self.partition}"
        for group in self.groups:

            async def is_applied(group: str = group) -> bool:
                return (await self.ground.watermarks(group)).get(name, 0) > offset

            await eventually(is_applied, f"{group} applies {name} at {offset}")
        return offset


async def is_served(ground: Ground, table: str, number: int) -> bool:
    """Whether a reader finds a copy of the row."""
    found = await ground.coherence.look([(f"{table.removesuffix('s')}:{number}", VOICEASSIST.table(table))])
    return found[0] is not None


async def feed_table(ground: Ground, table: str) -> dict[tuple[str, int, int], BadRecord]:
    """Every kind on a table's topic, each after a good record of its row; by where they lie."""
    followers = (WRITE_THROUGH, INVALIDATION) if VOICEASSIST.table(table).entry else (INVALIDATION,)
    feed = Feed(ground, table, followers)
    sent: dict[tuple[str, int, int], BadRecord] = {}
    # Records that name another table drop what lies under their key there, too: so each table has a row of its own.
    number = 7 + TABLES.index(table)
    # Stands for the places that are given out while the records are sent.
    about = subject(table, number, (1 << 34) + 1, (1 << 20) + 1, int(time.time() * 1000))
    kinds = [kind for kind in table_corpus(about) if table == "users" or len(kind.value or b"") < LARGE_BYTES]
    for index, kind in enumerate(kinds):
        feed.partition = index % 2
        good = await ground.commit()
        await feed.send({"id": number}, envelope("c", good, table=table, after=row(table, number)))
        if WRITE_THROUGH in followers:
            assert await is_served(ground, table, number), f"the good record before kind {index} of {table}"
        tags = VOICEASSIST.table(table).tags_of(row(table, number))
        families = [f"{tag.partition(':')[0]}:*" for tag in tags]
        for tag in (*tags, *families):
            await ground.fill_tag(tag, f"{table} {index}")
        bad = placed(kind, about, *await ground.commit())
        offset = await feed.send(bad.key, bad.value, bad.headers)
        sent[feed.topic, feed.partition, offset] = bad
        if WRITE_THROUGH in followers:
            keeps = bad.write_through in {APPLIED, CONTAINED, COUNTED}
            assert await is_served(ground, table, number) is keeps, (table, bad.name)
        if bad.invalidation != COUNTED:
            for tag, family in zip(tags, families, strict=True):
                kept = [await ground.has_tag(name, f"{table} {index}") for name in (tag, family)]
                assert not all(kept), (table, bad.name, tag)
    return sent


async def test_bad_records_of_every_kind_on_every_table(ground: Ground) -> None:
    async with ground.worker() as first, ground.worker(INVALIDATION) as second:
        await first.until_ready()
        found = await asyncio.gather(*(feed_table(ground, table) for table in TABLES))
        for running in (first, second):
            assert not running.task.done()
            assert running.count("freshline_dead_letters_total") > 150
            assert running.count("freshline_foreign_table_records_total") > 0
            assert running.count("freshline_store_away_total") == 0
    sent = {place: bad for records in found for place, bad in records.items()}
    letters = {_place(letter): letter for letter in await read_letters(ground.settings)}
    for place, bad in sent.items():
        reasons = {WRITE_THROUGH: bad.write_through, INVALIDATION: bad.invalidation}
        if place[0] == ground.topic("messages"):
            del reasons[WRITE_THROUGH]
        expected = {ground.settings.group(role): why for role, why in reasons.items() if why not in NO_LETTER}
        letter = letters.pop(place, None)
        assert (letter and {group: refusal.reason for group, refusal in letter.refusals.items()}) == (
            expected or None
        ), bad.name
        if letter is not None:
            assert (letter.key, letter.value) == (bad.key, bad.value), bad.name
    assert not letters


def _place(letter: Letter) -> tuple[str, int, int]:
    return letter.origin.topic, letter.origin.partition, letter.origin.offset


async def test_bad_requests_of_every_kind(ground: Ground) -> None:
    async with ground.worker() as first, ground.worker(INVALIDATION) as second:
        await first.until_ready()
        users = Feed(ground, "users", (WRITE_THROUGH, INVALIDATION))
        requests = Feed(ground, "invalidate", (INVALIDATION,))
        refused = []
        for index, bad in enumerate(request_corpus(7)):
            requests.partition = index % 2
            await users.send({"id": 7}, envelope("u", await ground.commit(), after=user(7)))
            assert await is_served(ground, "users", 7), f"before {bad.name}"
            await ground.fill_tag("user:7")
            await ground.fill_tag("user:*")
            offset = await requests.send(bad.key, bad.value, bad.headers)
            has_tag = await ground.has_tag("user:7") and await ground.has_tag("user:*")
            assert has_tag is (bad.drops in {"key", "nothing"}), bad.name
            # Whoever names both a pattern and a key has both dropped.
            keeps = bad.drops in {"tag", "nothing"} and bad.name != "both a pattern and a key"
            assert await is_served(ground, "users", 7) is keeps, bad.name
            if bad.becomes != APPLIED:
                refused.append((requests.partition, offset, bad.becomes, bad.value))
        assert not second.task.done()
    found = [
        (letter.origin.partition, letter.origin.offset, refusal.reason, letter.value)
        for letter in await read_letters(ground.settings)
        for refusal in letter.refusals.values()
    ]
    assert sorted(found, key=lambda letter: letter[:2]) == sorted(refused, key=lambda letter: letter[:2])


async def send_unreadable(ground: Ground) -> None:
    """Put two records in one batch whose first has a header that is named in Latin-1."""
    async with AIOKafkaProducer(**ground.settings.kafka.client_arguments()) as producer:
        batch = producer.create_batch()
        for number, name in ((1, "HDRX"), (2, "sound")):
            event = encoded(envelope("u", await ground.commit(), after=user(number, name="unreadable")))
            batch.append(key=encoded({"id": number}), value=event, timestamp=None, headers=[(name, b"")])
        batch.close()
        data = batch._build().replace(b"HDRX", "Ärge".encode("latin-1"))
        batch._buffer = data[:17] + calc_crc32c(data[21:]).to_bytes(4, "big") + data[21:]
        await (await producer.send_batch(batch, ground.topic("users"), partition=0))


async def test_a_batch_that_the_driver_cannot_read_blocks_nothing(ground: Ground) -> None:
    async with ground.worker() as running:
        for number in (1, 2, 3):
            await ground.change_user(user(number, name="before"))
        await ground.all_applied()
        await send_unreadable(ground)
        await ground.change_user(user(4, name="in the same fetch"))
        await ground.all_applied()
        assert [await ground.user(number) for number in (1, 2, 3)] == [None, None, None]
        await ground.change_user(user(3, name="after"))
        await ground.user_is(3, name="after")
        assert running.count("freshline_dead_letters_total", reason="unreadable_record") == 2
        assert running.count("freshline_epochs_total") == 1
    assert [letter.left_out_bytes for letter in await read_letters(ground.settings)] == [0, 0]


@pytest.mark.parametrize("codec", ["gzip", "lz4", "snappy", "zstd"])
async def test_batches_that_are_packed_by_any_codec_are_read(ground: Ground, codec: str) -> None:
    async with ground.worker():
        place = await ground.commit()
        async with AIOKafkaProducer(**ground.settings.kafka.client_arguments(), compression_type=codec) as producer:
            event = encoded(envelope("u", place, after=user(1, name=codec * 100)))
            await producer.send_and_wait(ground.topic("users"), key=encoded({"id": 1}), value=event, partition=0)
        await ground.user_is(1, name=codec * 100)


async def test_a_letter_that_is_sent_again_is_applied_once_it_can_be(ground: Ground) -> None:
    async with ground.worker() as running:
        now = await ground.commit()
        early = Place(now.lsn + (1 << 20), now.xid)
        await ground.change_user(user(1, name="too early"), place=early)
        await ground.all_applied()
        assert await ground.user(1) is None
        (letter,) = await read_letters(ground.settings)
        assert letter.refusals[ground.settings.group(WRITE_THROUGH)].reason == "lsn_of_the_future"
        await ground.connection.execute("SELECT pg_logical_emit_message(false, 'test', repeat('x', 3 << 20))")
        replayed: list[Letter] = []
        await replay(ground.settings, [letter], done=replayed.append)
        await ground.all_applied()
        assert replayed == [letter]
        assert running.count("freshline_records_total") == 2
        assert running.count("freshline_dead_letters_total") == 1
