"""Rates: of arrival, quick to rise and deaf to chance; and of work, whatever the waiting in between."""

from __future__ import annotations

import math
import tracemalloc
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshline.lag.rates import Arrivals, TrueRate


def arrivals(rates: list[tuple[float, float]], *, every_s: float = 1.0) -> Arrivals[str]:
    """What is known after these (seconds, records a second), one after the other."""
    seen = Arrivals[str]()
    at_s, end = 0.0, 0.0
    seen.see(at_s, {"a": 0})
    for seconds, rate in rates:
        for _ in range(round(seconds / every_s)):
            at_s, end = at_s + every_s, end + rate * every_s
            seen.see(at_s, {"a": round(end)})
    return seen


@pytest.mark.parametrize("rate", [0, 3, 1000])
def test_a_steady_rate_is_what_it_is(rate: float) -> None:
    assert arrivals([(200, rate)]).per_s()["a"] == pytest.approx(rate)


@pytest.mark.parametrize("seconds", [5, 15, 60])
def test_a_rise_is_seen_within_seconds_and_a_fall_within_a_minute(seconds: float) -> None:
    assert arrivals([(100, 100), (seconds, 1000)]).per_s()["a"] == pytest.approx(1000)
    assert arrivals([(100, 1000), (60, 100)]).per_s()["a"] == pytest.approx(100)
    assert arrivals([(100, 1000), (30, 100)]).per_s()["a"] == pytest.approx(550)


def test_chance_is_no_rise() -> None:
    random = Random(1)
    seen = Arrivals[int]()
    ends = dict.fromkeys(range(12), 0)
    answers: list[float] = []
    for at_s in range(1_000):
        for key in ends:
            ends[key] += sum(random.random() < 0.25 for _ in range(4))
        seen.see(float(at_s), ends)
        if at_s > 60:
            answers.append(sum(seen.per_s().values()))
    assert max(answers) < 1.35 * 12
    assert sum(answer > 1.2 * 12 for answer in answers) < len(answers) / 100


def test_a_topic_made_anew_and_a_new_partition_are_no_arrivals() -> None:
    seen = Arrivals[str]()
    seen.see(0, {"a": 1_000_000})
    seen.see(10, {"a": 50, "b": 500_000})
    assert seen.per_s() == {}
    seen.see(20, {"a": 150, "b": 500_100})
    assert seen.per_s() == {"a": pytest.approx(10), "b": pytest.approx(10)}


def test_what_is_gone_has_no_rate_and_one_look_says_nothing() -> None:
    seen = Arrivals[str]()
    assert seen.per_s() == {}
    seen.see(0, {"a": 5, "b": 5})
    assert seen.per_s() == {}
    seen.see(1, {"a": 6})
    assert seen.per_s() == {"a": 1}


Looks = list[dict[str, int]]


def over(looks: Looks, every_s: float, window_s: float) -> dict[str, float]:
    """Counted look by look: of the pairs in which a partition was there both times, and was not made anew."""
    since = looks[-max(2, math.floor(window_s / every_s) + 1) :]
    rates: dict[str, float] = {}
    for key in looks[-1]:
        pairs = [(one[key], other[key]) for one, other in pairwise(since) if key in one and key in other]
        arrived = [end - start for start, end in pairs if start <= end]
        if arrived:
            rates[key] = sum(arrived) / (len(arrived) * every_s)
    return rates


@given(
    st.lists(st.dictionaries(st.sampled_from("abcde"), st.integers(0, 500), max_size=5), min_size=2, max_size=40),
    st.sampled_from([1.0, 5.0, 30.0]),
)
def test_partitions_that_come_and_go_are_counted_while_they_are_there(looks: Looks, every_s: float) -> None:
    seen = Arrivals[str]()
    for number, look in enumerate(looks):
        seen.see(number * every_s, look)
        if number:
            minute, quarter, moment = (over(looks[: number + 1], every_s, window_s) for window_s in (60, 15, 5))
            # Who was not seen twice in the last seconds is as fast as he was before.
            answers = (minute, minute | quarter, minute | moment, minute | quarter | moment)
            assert any(seen.per_s() == pytest.approx(answer) for answer in answers)


def test_what_is_gone_for_long_is_not_remembered() -> None:
    seen = Arrivals[int]()
    tracemalloc.start()
    for at_s in range(900):
        seen.see(float(at_s), dict.fromkeys(range(at_s, at_s + 10), at_s))
        if at_s == 300:
            early, _ = tracemalloc.get_traced_memory()
    late, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert late < 1.5 * early


def test_looks_that_are_rare_are_enough() -> None:
    assert arrivals([(300, 100)], every_s=30).per_s()["a"] == pytest.approx(100)
    assert arrivals([(300, 100)], every_s=100).per_s()["a"] == pytest.approx(100)


def test_the_true_rate_is_of_work_and_not_of_waiting() -> None:
    rate = TrueRate()
    assert rate.per_s is None
    for _ in range(100):
        rate.see(10, 0.1, elapsed_s=5)
    assert rate.per_s == pytest.approx(100)
    for _ in range(100):
        rate.see(0, 0, elapsed_s=5)
    assert rate.per_s == pytest.approx(100)


def test_the_true_rate_follows_within_minutes() -> None:
    rate = TrueRate()
    for _ in range(100):
        rate.see(100, 1, elapsed_s=5)
    for _ in range(36):
        rate.see(10, 1, elapsed_s=5)
    assert rate.per_s == pytest.approx(10, rel=0.5)
    assert rate.per_s is not None
    assert rate.per_s < 15
