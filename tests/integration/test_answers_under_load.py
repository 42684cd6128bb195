"""Answers while their sources are edited and moved: whatever meets, no cached answer outlives its source, or crosses.

    editors: write ▸ change event ▸ (applied: from here on nothing older may be given) ▸ … ▸ refresh
    askers:  answer ▸ given from the cache? ▸ was it true, and theirs, when the question was asked?

The same run with the second drop of the tags taken out of a copy of the script must find answers that are not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from freshline.answers.answers import Produced
from freshline.answers.sources import Sources
from infra.redis import scripts
from tests.conftest import MakeSettings
from tests.integration.answer_ground import AnswerGround, open_answer_ground
from tests.integration.semantic_ground import REFRESH
from tests.integration.test_answers import row
from tests.integration.worker_ground import INVALIDATION, SIZES, envelope

DOCUMENTS = ("barn", "harbour", "castle", "station", "garden", "bakery")
TENANTS = (1, 2, 3)
EDITS = 100
ASKED_PER_EDIT = 4
ASKERS = 6
# Longer than passages take to follow, so that they often do while an answer is made.
PRODUCE_S = 0.25


class Truth:
    """What each document says and whose it is, by when that was certain to be known to every reader."""

    def __init__(self) -> None:
        # For each document, its versions: text, tenant, and when its event was applied.
        self.versions: dict[int, list[tuple[str, int, float]]] = {}
        self.wrong: list[str] = []
        self.asked = self.given = 0
        self.longest_s = 0.0

    def check(self, number: int, tenant: int, value: Any, asked_at: float) -> None:
        """See that an answer from the cache was true when it was asked for, as far as events were applied."""
        self.given += 1
        versions = self.versions[number]
        known = max(place for place, version in enumerate(versions) if version[2] <= asked_at)
        if any((text, owner) == (value, tenant) for text, owner, _ in versions[known:]):
            return
        if value == "nothing" and any(owner != tenant for _, owner, _ in versions[known:]):
            return
        since = [at for text, owner, at in versions[: known + 1] if (text, owner) != (value, tenant)]
        self.longest_s = max(self.longest_s, asked_at - min(since, default=asked_at))
        self.wrong.append(f"{value!r} was given to {tenant}; it is {versions[known][:2]}")


async def edit(ground: AnswerGround, truth: Truth, random: Random) -> None:
    """Edit and move documents; the passages follow after a while, each time another one."""
    following: list[asyncio.Task[None]] = []
    base = ground.semantic.ground
    for count in range(EDITS):
        if truth.wrong:
            # One is enough to tell.
            break
        number = random.randrange(len(DOCUMENTS))
        former = truth.versions[number][-1][1]
        owner = random.choice(TENANTS) if random.random() < 0.3 else former
        text = f"The {DOCUMENTS[number]} was visited {count} times."
        place = await ground.semantic.write(number, text, owner=owner)
        event = envelope("u", place, table="documents", after=row(number, text, owner))
        if owner != former:
            event["before"] = dict.fromkeys(row(number, "", 0)) | {"id": number, "uploaded_by": former}
        await base.send("documents", {"id": number}, event)
        # Until its event is applied, either version may be given.
        truth.versions[number].append((text, owner, float("inf")))
        await base.all_applied(INVALIDATION, "documents")
        truth.versions[number][-1] = (text, owner, time.monotonic())

        async def follow(delay_s: float = random.uniform(0, 0.1), args: Any = (number, place, former, owner)) -> None:
            await asyncio.sleep(delay_s)
            document, position, *owners = args
            tags = (f"document:{document}", *dict.fromkeys(f"library:{each}" for each in owners))
            await ground.semantic.ask(document, position, tags=tags)

        following.append(asyncio.create_task(follow()))
        # As often as questions are answered, however slowly that goes.
        enough = truth.asked + random.randint(0, 2 * ASKED_PER_EDIT)
        while truth.asked < enough:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.005)
    await asyncio.gather(*following)
    await ground.semantic.all_followed()


async def ask(ground: AnswerGround, truth: Truth, random: Random, done: asyncio.Event) -> None:
    """Ask about documents, as their owners and as others."""
    while not done.is_set():
        number, tenant = random.randrange(len(DOCUMENTS)), random.choice(TENANTS)
        place = DOCUMENTS[number]

        async def produce(sources: Sources, place: str = place) -> Produced:
            found = [p for p in await sources.search(limit=10) if place in p.text]
            await asyncio.sleep(random.uniform(0, PRODUCE_S))
            if not found:
                return Produced("nothing", used=[])
            return Produced(found[0].text, used=[found[0].document])

        asked_at = time.monotonic()
        answer = await ground.ask(f"How often was the {place} visited?", produce, tenant=tenant)
        truth.asked += 1
        if answer.how != "produced":
            truth.check(number, tenant, answer.value, asked_at)
        await asyncio.sleep(0)


async def run(settings: Any, seed: int) -> Truth:
    truth = Truth()
    random = Random(seed)
    async with (
        open_answer_ground(settings) as ground,
        ground.semantic.ground.worker(REFRESH),
        ground.semantic.ground.worker(INVALIDATION),
    ):
        for number, place in enumerate(DOCUMENTS):
            text = f"The {place} was visited 0 times."
            await ground.semantic.change(number, text, owner=1)
            truth.versions[number] = [(text, 1, time.monotonic())]
        await ground.semantic.all_followed()
        done = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(ASKERS):
                group.create_task(ask(ground, truth, Random(random.random()), done))
            await edit(ground, truth, random)
            done.set()
    return truth


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
async def test_no_answer_outlives_its_source_or_crosses_to_another_tenant(
    make_settings: MakeSettings, seed: int, record_property: Callable[[str, object], None]
) -> None:
    truth = await run(make_settings(topics=SIZES), seed)
    record_property("given", truth.given)
    assert truth.given > 100
    assert truth.wrong == []


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_without_the_second_drop_of_the_tags_some_answer_does(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    original = scripts.source

    def without(name: str) -> str:
        text = original(name)
        if name != "apply":
            return text
        before, marker, after = text.partition("local function document_followed")
        assert "    drop(tag)\n" in after
        return before + marker + after.replace("    drop(tag)\n", "", 1)

    monkeypatch.setattr(scripts, "source", without)
    for seed in range(1, 7):
        truth = await run(make_settings(topics=SIZES), seed)
        if truth.wrong:
            break
    record_property("longest_staleness_s", truth.longest_s)
    assert truth.wrong
