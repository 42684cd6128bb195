"""Answers on real stores: given again while their sources are as they were, to nobody else, and never after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from freshline.answers.answers import AnswerError, Produced
from freshline.answers.learning import TicketError
from freshline.answers.sources import Sources
from tests.conftest import MakeSettings
from tests.integration.answer_ground import AnswerGround, Quoting, open_answer_ground
from tests.integration.semantic_ground import REFRESH
from tests.integration.worker_ground import INVALIDATION, SIZES, envelope, eventually

QUESTION = "Where does the cat sleep?"
PARAPHRASE = "Where is the cat sleeping?"


@pytest.fixture(autouse=True)
def _generations_are_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker alone follows them: there is nobody else to hear of them first."""
    monkeypatch.setattr("consumers.index_keeper.SETTLED_AFTER_S", 0.0)


@pytest.fixture
async def ground(make_settings: MakeSettings) -> AsyncIterator[AnswerGround]:
    async with (
        open_answer_ground(make_settings(topics=SIZES), similarity=0.7) as opened,
        opened.semantic.ground.worker(REFRESH),
        opened.semantic.ground.worker(INVALIDATION),
    ):
        await opened.semantic.change(1, "The cat sleeps on the warm roof of the barn.")
        await opened.semantic.change(2, "Invoices are to be paid within thirty days.")
        await opened.semantic.all_followed()
        await opened.semantic.walked()
        yield opened


def row(number: int, content: str, owner: int) -> dict[str, Any]:
    return {
        "id": number,
        "uploaded_by": owner,
        "title": "",
        "content": content,
        "content_type": "text/plain",
        "size_mb": None,
        "created_at": "2026-01-01T00:00:00.000000Z",
        "updated_at": "2026-01-01T00:00:00.000000Z",
    }


async def change_event(ground: AnswerGround, number: int, content: str, *, owner: int = 1, former: int = 1) -> Any:
    """Edit a document, and put its change event on its topic: the passages have yet to follow."""
    place = await ground.semantic.write(number, content, owner=owner)
    base = ground.semantic.ground
    before = None if former == owner else {"id": number, "uploaded_by": former}
    event = envelope("u", place, table="documents", before=before, after=row(number, content, owner))
    if before is not None:
        event["before"] = dict.fromkeys(row(number, "", 0)) | before
    await base.send("documents", {"id": number}, event)
    await base.all_applied(INVALIDATION, "documents")
    return place


async def test_the_same_question_and_one_that_means_the_same_are_answered_without_producing(
    ground: AnswerGround,
) -> None:
    produce = Quoting()
    made = await ground.ask(QUESTION, produce)
    again = await ground.ask(f"  {QUESTION} ", produce)
    similar = await ground.ask(PARAPHRASE, produce)
    assert (made.how, again.how, similar.how) == ("produced", "same", "similar")
    assert made.value == again.value == similar.value == ["The cat sleeps on the warm roof of the barn."]
    assert similar.question == QUESTION
    assert [document.key for document in similar.sources] == ["1"]
    assert produce.calls == 1


async def test_an_answer_dies_with_its_source_and_lives_on_when_others_change(ground: AnswerGround) -> None:
    produce = Quoting(limit=1, names_used=True)
    await ground.ask(QUESTION, produce)
    await change_event(ground, 2, "Invoices are to be paid at once.")
    assert (await ground.ask(QUESTION, produce)).how == "same"
    place = await change_event(ground, 1, "The cat sleeps in the kitchen.")
    assert (await ground.ask(QUESTION, produce)).how == "produced"
    await ground.semantic.ask(1, place, tags=("document:1", "library:1"))
    await ground.semantic.all_followed()
    assert (await ground.ask(QUESTION, produce)).value == ["The cat sleeps in the kitchen."]
    assert (await ground.ask(PARAPHRASE, produce)).value == ["The cat sleeps in the kitchen."]


async def test_what_was_made_before_the_passages_followed_is_never_given_again(ground: AnswerGround) -> None:
    produce = Quoting(limit=1)
    place = await change_event(ground, 1, "The cat sleeps in the kitchen.")
    assert (await ground.ask(QUESTION, produce)).value == ["The cat sleeps on the warm roof of the barn."]
    assert ground.count("freshline_answer_fills_total", outcome="pending") == 1
    assert (await ground.ask(QUESTION, produce)).how == "produced"
    await ground.semantic.ask(1, place, tags=("document:1", "library:1"))
    await ground.semantic.all_followed()
    assert (await ground.ask(QUESTION, produce)).value == ["The cat sleeps in the kitchen."]
    assert (await ground.ask(QUESTION, produce)).how == "same"


async def test_an_answer_whose_passages_follow_while_it_is_made_is_not_kept(ground: AnswerGround) -> None:
    place = await change_event(ground, 1, "The cat sleeps in the kitchen.")

    async def slow(sources: Sources) -> Any:
        found = await sources.search(limit=1)
        await ground.semantic.ask(1, place, tags=("document:1", "library:1"))
        await ground.semantic.all_followed()
        return [passage.text for passage in found]

    assert (await ground.ask(QUESTION, slow)).value == ["The cat sleeps on the warm roof of the barn."]
    assert ground.count("freshline_answer_fills_total", outcome="changed") == 1
    assert (await ground.ask(QUESTION, Quoting(limit=1))).value == ["The cat sleeps in the kitchen."]


async def test_a_new_document_retires_nothing_found(ground: AnswerGround) -> None:
    produce = Quoting()
    question = "Which rivers flow through the valley of the moon?"
    assert (await ground.ask(question, produce)).value == "nothing found"
    assert (await ground.ask(question, produce)).how == "same"
    await ground.semantic.change(3, "The rivers of the valley of the moon are dry.")
    await ground.semantic.all_followed()
    assert (await ground.ask(question, produce)).value == ["The rivers of the valley of the moon are dry."]


async def test_a_new_document_retires_an_answer_that_does_not_name_what_it_used(ground: AnswerGround) -> None:
    produce = Quoting(limit=1)
    await ground.ask(QUESTION, produce)
    await ground.semantic.change(3, "The cat of the neighbours sleeps in a basket.")
    await ground.semantic.all_followed()
    assert (await ground.ask(QUESTION, produce)).how == "produced"


async def test_an_answer_is_given_to_no_other_tenant_and_a_personal_one_to_no_other_user(ground: AnswerGround) -> None:
    produce = Quoting()
    await ground.ask(QUESTION, produce)
    assert (await ground.ask(QUESTION, produce, tenant=2)).value == "nothing found"
    assert (await ground.ask(PARAPHRASE, produce, tenant=2)).value == "nothing found"

    async def personal(sources: Sources) -> Produced:
        await sources.search(limit=1)
        return Produced("yours", is_personal=True)

    assert (await ground.ask("Is the barn mine?", personal, user=7)).how == "produced"
    assert (await ground.ask("Is the barn mine?", personal, user=7)).how == "same"
    assert (await ground.ask("Is the barn mine?", personal, user=8)).how == "produced"
    assert (await ground.ask("Is the barn mine?", personal)).how == "produced"


async def test_a_document_that_moved_takes_its_answers_along(ground: AnswerGround) -> None:
    produce = Quoting(limit=1)
    await ground.ask(QUESTION, produce)
    place = await change_event(ground, 1, "The cat sleeps on the warm roof of the barn.", owner=2, former=1)
    assert (await ground.ask(QUESTION, produce)).how == "produced"
    await ground.semantic.ask(1, place, tags=("document:1", "library:1", "library:2"))
    await ground.semantic.all_followed()
    assert (await ground.ask(QUESTION, produce)).value == "nothing found"
    assert (await ground.ask(QUESTION, produce, tenant=2)).value == ["The cat sleeps on the warm roof of the barn."]


async def test_an_answer_that_used_one_document_lives_on_when_others_change(ground: AnswerGround) -> None:
    async def first_only(sources: Sources) -> Produced:
        found = await sources.search(limit=2)
        return Produced(found[0].text, used=[found[0].document])

    question = "When are invoices to be paid, and where is the cat?"
    first = await ground.ask(question, first_only)
    other = 3 - int(first.sources[0].key)
    await change_event(ground, other, "Something else altogether.")
    assert (await ground.ask(question, first_only)).how == "same"
    await change_event(ground, int(first.sources[0].key), "Something else altogether.")
    assert (await ground.ask(question, first_only)).how == "produced"


async def test_one_producer_at_a_time_answers_all_who_ask_the_same(ground: AnswerGround) -> None:
    started = asyncio.Event()
    go_on = asyncio.Event()
    calls = 0

    async def slow(sources: Sources) -> Any:
        nonlocal calls
        calls += 1
        await sources.search(limit=1)
        started.set()
        await go_on.wait()
        return "made once"

    first = asyncio.create_task(ground.ask(QUESTION, slow))
    await started.wait()
    others = [asyncio.create_task(ground.ask(QUESTION, slow)) for _ in range(20)]
    await asyncio.sleep(0)
    go_on.set()
    answers = [await first, *[await other for other in others]]
    assert {answer.value for answer in answers} == {"made once"}
    assert calls == 1


async def test_the_least_recently_used_answer_goes_first(make_settings: MakeSettings) -> None:
    async with (
        open_answer_ground(make_settings(topics=SIZES), entries=3) as ground,
        ground.semantic.ground.worker(REFRESH),
    ):
        await ground.semantic.change(1, "The cat sleeps on the warm roof of the barn.")
        await ground.semantic.all_followed()
        await ground.semantic.walked()
        produce = Quoting()
        questions = ["Where is the cat?", "What is due on Monday?", "How high is the tower?", "Who wrote the letter?"]
        for question in questions[:3]:
            await ground.ask(question, produce)
        await ground.ask(questions[0], produce)
        await ground.ask(questions[3], produce)
        hows = [(await ground.ask(question, produce)).how for question in (questions[0], questions[2], questions[3])]
        assert hows == ["same", "same", "same"]
        assert (await ground.ask(questions[1], produce)).how == "produced"


async def test_questions_are_produced_while_the_index_is_away(ground: AnswerGround) -> None:
    ground.search.is_away = True
    answer = await ground.ask(QUESTION, Quoting())
    assert (answer.how, answer.value) == ("produced", "nothing found")
    assert ground.count("freshline_answer_fills_total", outcome="unknown_sources") == 1
    ground.search.is_away = False
    assert (await ground.ask(QUESTION, Quoting())).value != "nothing found"


async def test_an_answer_that_was_reported_wrong_is_not_given_again(ground: AnswerGround) -> None:
    produce = Quoting()
    await ground.ask(QUESTION, produce)
    similar = await ground.ask(PARAPHRASE, produce)
    assert await ground.answers.report(similar.id, wrong=True)
    assert not await ground.answers.report(similar.id, wrong=True)
    assert (await ground.ask(PARAPHRASE, produce)).how == "produced"
    same = await ground.ask(QUESTION, produce)
    assert same.how == "same"
    await ground.answers.report(same.id, wrong=True)
    assert (await ground.ask(QUESTION, produce)).how != "same"
    for forged in ("nonsense", same.id[:-1] + "x", f"{same.id.partition('.')[0]}.0", ""):
        with pytest.raises(TicketError, match="not the id of an answer"):
            await ground.answers.report(forged, wrong=True)


async def test_it_is_explained_what_nearly_hit_and_why_it_was_refused(ground: AnswerGround) -> None:
    await ground.ask("Where does the cat sleep on 5 May?", Quoting())
    (candidate,) = await ground.answers.explain("Where does the cat sleep on 6 May?", 1)
    assert candidate.cached is not None
    assert candidate.verdict is not None
    assert not candidate.verdict.allowed
    assert candidate.verdict.reason == "dates"
    assert (await ground.ask("Where does the cat sleep on 6 May?", Quoting())).how == "produced"


async def test_what_cannot_be_asked_or_answered_is_an_error_that_says_so(ground: AnswerGround) -> None:
    with pytest.raises(AnswerError, match="empty"):
        await ground.answers.answer("  ", 1, Quoting())
    with pytest.raises(AnswerError, match=r"public\.documents belong to a tenant"):
        await ground.answers.answer(QUESTION, None, Quoting())

    async def no_json(sources: Sources) -> Any:
        await sources.search()
        return object()

    with pytest.raises(AnswerError, match="can't be cached"):
        await ground.ask(QUESTION, no_json)

    async def failing(_: Sources) -> Any:
        raise RuntimeError("no model")

    with pytest.raises(RuntimeError, match="no model"):
        await ground.ask(QUESTION, failing)

    async def is_free() -> bool:
        return (await ground.ask(QUESTION, Quoting())).how in {"produced", "same"}

    await eventually(is_free, "a producer that failed holds nobody up")
