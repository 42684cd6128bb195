"""Learned thresholds: evidence moves decisions its own way only, and few enough served answers are wrong."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.feedback import LABELS, POPULATIONS, Result, best_fixed, replay
from freshline.answers.thresholds import (
    DECISIONS_REMEMBERED,
    LEAST_EXPLORED,
    PROBED,
    STEPS,
    Decision,
    Observations,
    Policy,
    Pooled,
    step_of,
)

QUESTIONS = 4_000
ROUNDING = 1e-9
# How often they turn for the worse; what is decided until late labels tell of it may be wrong besides.
WORSENINGS = {"thresholds rise": 1, "turns once": 1, "turns ten times": 5}

similarities = st.floats(0.0, 1.0)
error_rates = st.sampled_from([0.001, 0.01, 0.02, 0.05, 0.2])
uniforms = st.floats(0.0, 1.0, exclude_max=True)
outcomes = st.lists(st.tuples(st.floats(0.6, 1.0), st.booleans()), max_size=30)


def observed(outcomes: list[tuple[float, bool]]) -> Observations:
    observations = Observations()
    for similarity, correct in outcomes:
        observations = observations.with_observation(similarity, correct)
    return observations


@st.composite
def pooled(draw: st.DrawFn) -> Pooled:
    """What a few questions taught, and any balance."""
    known = Pooled()
    for question in draw(st.lists(outcomes, max_size=3)):
        before = Observations()
        for similarity, correct in question:
            known = known.with_outcome(before, similarity, correct, served=False, explore_probability=1.0)
            before = before.with_observation(similarity, correct)
    decisions = draw(st.floats(0.0, DECISIONS_REMEMBERED))
    return msgspec.structs.replace(
        known, decisions=decisions, decisions_squared=2 * decisions, compared=draw(st.integers(0, 2))
    )


def decide(known: Observations, together: Pooled, error_rate: float, similarity: float) -> Decision:
    return Policy(error_rate).decide(known, together, similarity, 0.5)


@given(outcomes, pooled(), error_rates, similarities, uniforms)
def test_a_decision_is_made_of_probabilities(
    seen: list[tuple[float, bool]], together: Pooled, error_rate: float, similarity: float, uniform: float
) -> None:
    decision = Policy(error_rate).decide(observed(seen), together, similarity, uniform)
    assert LEAST_EXPLORED <= decision.explore_probability <= 1.0
    assert 0.0 <= decision.probability_correct_at_least <= decision.probability_correct + ROUNDING <= 1.0 + 2 * ROUNDING
    assert decision.serve == (uniform >= decision.explore_probability)


@given(outcomes, pooled(), error_rates, similarities, similarities)
def test_a_right_answer_at_or_above_a_similarity_never_speaks_against_it(
    seen: list[tuple[float, bool]], together: Pooled, error_rate: float, one: float, other: float
) -> None:
    at, above = sorted((one, other))
    before = decide(observed(seen), together, error_rate, at)
    after = decide(observed(seen).with_observation(above, correct=True), together, error_rate, at)
    assert after.probability_correct >= before.probability_correct - ROUNDING
    assert after.probability_correct_at_least >= before.probability_correct_at_least - ROUNDING
    assert after.explore_probability <= before.explore_probability


@given(outcomes, pooled(), error_rates, similarities)
def test_a_wrong_answer_at_a_similarity_never_speaks_for_it(
    seen: list[tuple[float, bool]], together: Pooled, error_rate: float, similarity: float
) -> None:
    before = decide(observed(seen), together, error_rate, similarity)
    after = decide(observed(seen).with_observation(similarity, correct=False), together, error_rate, similarity)
    assert after.probability_correct <= before.probability_correct + ROUNDING
    assert after.probability_correct_at_least <= before.probability_correct_at_least + ROUNDING
    assert after.explore_probability >= before.explore_probability


@given(pooled(), error_rates, st.booleans(), st.floats(0.01, 0.99))
def test_a_wrong_answer_never_adds_to_the_balance(
    together: Pooled, error_rate: float, served: bool, explore: float
) -> None:
    wrong, right = (
        together.with_outcome(Observations(), 0.9, correct, served=served, explore_probability=explore)
        for correct in (False, True)
    )
    assert wrong.balance(error_rate) <= right.balance(error_rate)


@given(outcomes)
def test_packing_keeps_everything(seen: list[tuple[float, bool]]) -> None:
    known = observed(seen)
    assert Observations.unpack(known.pack()) == known
    together = Pooled().with_outcome(known, 0.9, correct=True, served=False, explore_probability=0.5)
    assert Pooled.unpack(together.pack()) == together


def test_what_was_packed_with_other_steps_or_curves_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError, match="32 steps"):
        Observations.unpack(msgspec.msgpack.encode([[1], [2]]))
    with pytest.raises(msgspec.DecodeError, match="curves"):
        Pooled.unpack(msgspec.msgpack.encode([b"1234"]))


def test_observations_stay_small_however_many_there_were() -> None:
    full = Observations((65_535,) * STEPS, (65_534,) * STEPS)
    for similarity in np.linspace(0.0, 1.0, 5_000).tolist():
        for correct in (True, False, False):
            full = full.with_observation(similarity, correct)
    assert full == Observations((65_535,) * STEPS, (65_535,) * STEPS)
    assert len(full.pack()) <= 200
    assert math.isfinite(decide(full, Pooled(), 0.01, 0.9).probability_correct)


def test_steps_go_from_the_most_to_the_least_similar() -> None:
    steps = [step_of(similarity) for similarity in np.linspace(1.0, 0.0, 1_000).tolist()]
    assert steps == sorted(steps)
    assert (step_of(1.000001), step_of(-0.1)) == (0, STEPS - 1)


@given(similarities)
def test_without_any_knowledge_only_a_share_of_the_error_rate_is_served(similarity: float) -> None:
    decision = Policy(0.02).decide(Observations(), None, similarity, 0.5)
    assert not decision.serve
    assert decision.explore_probability >= 1.0 - PROBED * 0.02


def test_a_question_of_its_own_merit_is_trusted_before_others() -> None:
    together = msgspec.structs.replace(Pooled(), decisions=2_000.0, decisions_squared=2_000.0, compared=1)
    good = observed([(0.9, True)] * 50)
    assert decide(good, together, 0.02, 0.9).reason == "trusted"
    assert decide(Observations(), together, 0.02, 0.9).reason == "doubtful"


def test_a_new_question_gains_from_what_all_have_taught() -> None:
    alone, together = Pooled(), Pooled()
    for _ in range(50):
        together = together.with_outcome(Observations(), 0.9, True, served=False, explore_probability=1.0)
    new = Observations()
    assert decide(new, together, 0.02, 0.9).probability_correct > decide(new, alone, 0.02, 0.9).probability_correct


def test_wrong_answers_alone_open_nothing() -> None:
    together, known = Pooled(), Observations()
    for _ in range(50):
        together = together.with_outcome(known, 0.9, False, served=True, explore_probability=0.98)
        known = known.with_observation(0.9, correct=False)
    assert together.balance(0.02) < 0.0
    assert decide(Observations(), together, 0.02, 0.99).explore_probability >= 1.0 - PROBED * 0.02


def test_a_long_past_is_remembered_by_half() -> None:
    before = msgspec.structs.replace(
        Pooled(), decisions=DECISIONS_REMEMBERED, decisions_squared=90_000.0, errors=200.0, errors_squared=4_000.0
    )
    before = msgspec.structs.replace(before, compared=1)
    after = before.with_outcome(Observations(), 0.9, True, served=False, explore_probability=1.0)
    assert after.balance(0.02) == pytest.approx(before.balance(0.02) / 2, rel=1e-3)


@pytest.mark.parametrize(("served", "explore"), [(True, 1.0), (False, 0.0), (True, -0.1), (False, 1.1)])
def test_an_outcome_that_could_not_have_been_is_refused(served: bool, explore: float) -> None:
    with pytest.raises(ValueError, match="can't have come"):
        Pooled().with_outcome(Observations(), 0.9, True, served=served, explore_probability=explore)


@pytest.mark.parametrize("error_rate", [0.0, 1.0, -0.1, math.nan])
def test_an_error_rate_lies_between_none_and_all(error_rate: float) -> None:
    with pytest.raises(ValueError, match="lies between 0 and 1"):
        Policy(error_rate)


# Seeds are fixed: the bound is held save for a chance of a thousandth or so, which many new ones would find.
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("population", POPULATIONS)
def test_few_enough_are_wrong_whatever_the_questions_are_like(population: str, labels: str) -> None:
    error_rate = 0.02
    stream = POPULATIONS[population](np.random.default_rng(0), QUESTIONS)
    late = LABELS[labels].delay_questions * WORSENINGS.get(population, 0)
    results = list(replay(stream, error_rate, LABELS[labels], np.random.default_rng(100)))
    assert results[-1].wrong <= error_rate + late / QUESTIONS
    # On the way there the first few questions are allowed what chance may do.
    for number, result in enumerate(results, 1):
        allowed = error_rate * number
        assert result.wrong * number <= allowed + 3 * math.sqrt(allowed) + 1 + late


def test_the_bound_holds_over_many_seeds() -> None:
    draw, wrong = POPULATIONS["turns ten times"], list[float]()
    for seed in range(8):
        stream = draw(np.random.default_rng(seed), QUESTIONS)
        *_, last = replay(stream, 0.05, LABELS["compared"], np.random.default_rng(100 + seed))
        wrong.append(last.wrong)
    # One in a thousand may exceed it, so that even one of eight would be a finding (p < 0.01).
    assert max(wrong) <= 0.05


@pytest.mark.parametrize("population", ["sharp", "mixed slopes", "lapses", "popularity drifts"])
def test_learned_thresholds_beat_the_best_fixed_one(population: str) -> None:
    stream = POPULATIONS[population](np.random.default_rng(1), 5 * QUESTIONS)
    learned = Result(0.0, 0.0)
    for learned in replay(stream, 0.02, LABELS["compared"], np.random.default_rng(101)):  # noqa: B007 - the last one
        pass
    assert learned.hits > 1.2 * best_fixed(stream, 0.02).hits
    assert learned.hits > 1.8 * best_fixed(stream, learned.wrong).hits
