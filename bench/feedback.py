"""Feedback: learned thresholds of the answer cache, over 20,000 simulated questions of hard populations.

No server is needed: ``python -m bench.feedback``. Each stream is answered under error rates of 1, 2 and 5 %, beside the
fixed threshold 0.85 and beside the best fixed one: of all thresholds that keep the error rate on this very stream, the
one with the most hits, which nobody could know beforehand.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Column, Table

from bench.results import Figure, compared
from freshline.answers.thresholds import Observations, Policy, Pooled

QUESTIONS: Final = 20_000
ERROR_RATES: Final = (0.01, 0.02, 0.05)
_CACHED: Final = 400
_FIXED: Final = 0.85

Floats = NDArray[np.float64]


class Stream(msgspec.Struct, frozen=True):
    """Questions in their order.

    Attributes:
        cached: the number of the cached question that is nearest to each.
        similarity: of the two; -1 where nothing is cached yet.
        right: whether the cached answer is right for it.
        label: what a comparison, or a user, says of that.
    """

    cached: NDArray[np.int64]
    similarity: Floats
    right: NDArray[np.bool_]
    label: NDArray[np.bool_]


class Labels(msgspec.Struct, frozen=True):
    """Where outcomes come from, and how many questions later."""

    compared: bool = True
    reported: float = 0.0
    delay_questions: int = 0


class Result(msgspec.Struct, frozen=True):
    """Shares of all questions: answered from the cache, and answered wrongly."""

    hits: float
    wrong: float


def _logistic(values: Floats) -> Floats:
    result: Floats = 1.0 / (1.0 + np.exp(-np.clip(values, -500.0, 500.0)))
    return result


def _popular(rng: Generator, questions: int, cached: int = _CACHED, exponent: float = 1.0) -> NDArray[np.int64]:
    """Zipf's law over shuffled numbers."""
    shares = np.arange(1, cached + 1) ** -exponent
    return rng.permutation(cached)[rng.choice(cached, questions, p=shares / shares.sum())]


def _similar(rng: Generator, questions: int) -> Floats:
    return 0.5 + 0.5 * rng.beta(5.0, 1.6, questions)


def _stream(
    rng: Generator, cached: NDArray[np.int64], similarity: Floats, probability: Floats, mistaken: float = 0.0
) -> Stream:
    """The first question of each kind finds nothing cached."""
    right = rng.random(len(cached)) < probability
    similarity = similarity.copy()
    similarity[np.unique(cached, return_index=True)[1]] = -1.0
    return Stream(cached, similarity, right, right ^ (rng.random(len(cached)) < mistaken))


def thresholds(
    *,
    slopes: tuple[float, float] = (20.0, 200.0),
    lowest: float = 0.6,
    highest: float = 0.98,
    rise: float = 0.0,
    mistaken: float = 0.0,
    cached: int = _CACHED,
    exponent: float = 1.0,
    rotations: int = 1,
) -> Callable[[Generator, int], Stream]:
    """Each cached question has a threshold and a slope; thresholds may rise halfway, and popularity may change."""

    def draw(rng: Generator, questions: int) -> Stream:
        spans = np.array_split(np.arange(questions), rotations)
        which = np.concatenate([_popular(rng, len(span), cached, exponent) for span in spans])
        threshold = rng.uniform(lowest, highest, cached)[which] + rise * (np.arange(questions) >= questions // 2)
        slope = np.exp(rng.uniform(np.log(slopes[0]), np.log(slopes[1]), cached))[which]
        similarity = _similar(rng, questions)
        return _stream(rng, which, similarity, _logistic(slope * (similarity - threshold)), mistaken)

    return draw


def near_misses(rng: Generator, questions: int) -> Stream:
    """A third of the questions mean something else, and lie nearer than most of those that mean the same."""
    which = _popular(rng, questions)
    misses = rng.random(questions) < rng.uniform(0.0, 0.64, _CACHED)[which]
    similarity = np.where(misses, rng.uniform(0.95, 0.999, questions), rng.uniform(0.8, 0.999, questions))
    return _stream(rng, which, similarity, np.where(misses, 0.0, 1.0))


def lapses(rng: Generator, questions: int) -> Stream:
    """Of three cached answers in ten, a part of the questions gets a wrong one however similar it is."""
    which, similarity = _popular(rng, questions), _similar(rng, questions)
    most = np.where(rng.random(_CACHED) < 0.3, rng.uniform(0.5, 0.97, _CACHED), 1.0)[which]
    threshold = rng.uniform(0.6, 0.9, _CACHED)[which]
    return _stream(rng, which, similarity, most * _logistic(100.0 * (similarity - threshold)))


def turns(phases: int) -> Callable[[Generator, int], Stream]:
    """Every cached answer is right until trust is gained, then every one is wrong, and so on."""

    def draw(rng: Generator, questions: int) -> Stream:
        good = np.arange(questions) * phases // questions % 2 == 0
        return _stream(rng, _popular(rng, questions), _similar(rng, questions), np.where(good, 1.0, 0.0))

    return draw


def concepts(rng: Generator, questions: int) -> Stream:
    """Meanings scattered around centres, questions around meanings; the nearest question may be of another meaning."""
    centres, around, dimensions = 60, 12, 48

    def scattered(points: Floats, radius: Floats) -> Floats:
        directions = rng.normal(size=points.shape)
        moved: Floats = points + radius[:, None] * directions / np.linalg.norm(directions, axis=1, keepdims=True)
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
        return moved

    centre = np.repeat(scattered(np.zeros((centres, dimensions)), np.ones(centres)), around, axis=0)
    meanings = scattered(centre, np.repeat(rng.uniform(0.25, 0.8, centres), around))
    meaning = _popular(rng, questions, len(meanings))
    points = scattered(meanings[meaning], rng.uniform(0.05, 0.5, len(meanings))[meaning])
    kept = np.sort(np.unique(meaning, return_index=True)[1])  # the first question of each meaning is cached
    cached, similarity = np.zeros(questions, np.int64), np.full(questions, -1.0)
    for begin, end in zip(kept, [*kept[1:], questions], strict=True):
        near = points[begin + 1 : end + 1] @ points[kept[kept <= begin]].T
        cached[begin + 1 : end + 1] = near.argmax(axis=1)
        similarity[begin + 1 : end + 1] = near.max(axis=1)
    right = meaning[kept][cached] == meaning
    return Stream(cached, similarity, right, right)


POPULATIONS: Final[Mapping[str, Callable[[Generator, int], Stream]]] = {
    "sharp": thresholds(slopes=(100.0, 100.0)),
    "soft": thresholds(slopes=(15.0, 30.0)),
    "mixed slopes": thresholds(slopes=(10.0, 300.0)),
    "3 % of labels mistaken": thresholds(slopes=(100.0, 100.0), mistaken=0.03),
    "popularity drifts": thresholds(rotations=10),
    "6,000 rarely asked": thresholds(cached=6_000, exponent=0.6),
    "thresholds rise": thresholds(highest=0.85, rise=0.15),
    "near misses": near_misses,
    "lapses": lapses,
    "concepts": concepts,
    "turns once": turns(2),
    "turns ten times": turns(10),
}
LABELS: Final[Mapping[str, Labels]] = {
    "compared": Labels(),
    "compared, 100 questions late": Labels(delay_questions=100),
    "30 % reported": Labels(compared=False, reported=0.3),
    "5 % reported": Labels(compared=False, reported=0.05),
}


def replay(stream: Stream, error_rate: float, labels: Labels, rng: Generator) -> Iterator[Result]:
    """Answer one question after the other; after each, the shares up to there."""
    policy, pooled, known = Policy(error_rate), Pooled(), dict[int, Observations]()
    pending = deque[tuple[int, int, bool, float]]()
    hits = wrong = 0
    for number, similarity in enumerate(stream.similarity.tolist()):
        while pending and pending[0][0] <= number:
            _, past, served, explore = pending.popleft()
            cached, label, near = int(stream.cached[past]), bool(stream.label[past]), float(stream.similarity[past])
            before = known.get(cached, Observations())
            pooled = pooled.with_outcome(before, near, label, served=served, explore_probability=explore)
            known[cached] = before.with_observation(near, label)
        if similarity >= 0.0:
            before = known.get(int(stream.cached[number]), Observations())
            decision = policy.decide(before, pooled, similarity, rng.random())
            hits += decision.serve
            wrong += decision.serve and not stream.right[number]
            if rng.random() < labels.reported if decision.serve else labels.compared:
                due = number + 1 + labels.delay_questions
                pending.append((due, number, decision.serve, decision.explore_probability))
        yield Result(hits / (number + 1), wrong / (number + 1))


def fixed(stream: Stream, threshold: float) -> Result:
    """Serve whatever is as similar as that."""
    served = stream.similarity >= threshold
    return Result(float(served.mean()), float((served & ~stream.right).mean()))


def best_fixed(stream: Stream, error_rate: float) -> Result:
    """Of all fixed thresholds that keep the error rate on this stream, the one with the most hits."""
    order = np.argsort(-stream.similarity)
    order = order[stream.similarity[order] >= 0.0]
    wrong = np.cumsum(~stream.right[order]) / len(stream.right)
    kept = int(np.searchsorted(wrong, error_rate, side="right"))
    return Result(kept / len(stream.right), float(wrong[kept - 1]) if kept else 0.0)


class Row(msgspec.Struct, frozen=True):
    """One population under one error rate: means over the seeds, and the most that was wrong with one of them."""

    population: str
    labels: str
    error_rate: float
    learned: Result
    most_wrong: float
    same_wrong: Result
    best: Result
    usual: Result


def _mean(results: Sequence[Result]) -> Result:
    return Result(
        float(np.mean([result.hits for result in results])), float(np.mean([result.wrong for result in results]))
    )


def rows(seeds: int, questions: int = QUESTIONS) -> Iterator[Row]:
    """Measure, a row at a time."""
    for name, draw in POPULATIONS.items():
        streams = [draw(np.random.default_rng(seed), questions) for seed in range(seeds)]
        for label, labels in LABELS.items():
            for error_rate in ERROR_RATES:
                learned = [
                    deque(replay(stream, error_rate, labels, np.random.default_rng(1_000 + seed)), maxlen=1)[0]
                    for seed, stream in enumerate(streams)
                ]
                yield Row(
                    name,
                    label,
                    error_rate,
                    _mean(learned),
                    max(result.wrong for result in learned),
                    _mean([best_fixed(*pair) for pair in zip(streams, (r.wrong for r in learned), strict=True)]),
                    _mean([best_fixed(stream, error_rate) for stream in streams]),
                    _mean([fixed(stream, _FIXED) for stream in streams]),
                )


def measure(seeds: int = 1) -> list[Figure]:
    """For each error rate: the most that was wrong in any stream, and hits beside those of fixed thresholds."""
    measured = list(rows(seeds))
    figures: list[Figure] = []
    for error_rate in ERROR_RATES:
        at = [row for row in measured if row.error_rate == error_rate]
        asked = Figure(f"feedback.error_rate@{error_rate:.0%}", 100 * error_rate, "%")
        usual = Figure(f"feedback.fixed_hits@{error_rate:.0%}", 100 * _mean([row.usual for row in at]).hits, "%")
        best = Figure(f"feedback.best_fixed_hits@{error_rate:.0%}", 100 * _mean([row.best for row in at]).hits, "%")
        hits = 100 * _mean([row.learned for row in at]).hits
        most_wrong = 100 * max(row.most_wrong for row in at)
        fixed_wrong = 100 * max(row.usual.wrong for row in at)
        figures += [
            asked,
            compared(f"feedback.most_wrong@{error_rate:.0%}", most_wrong, "%", asked),
            compared(f"feedback.fixed_most_wrong@{error_rate:.0%}", fixed_wrong, "%", asked),
            usual,
            best,
            compared(f"feedback.hits@{error_rate:.0%}", hits, "%", best),
        ]
    return figures


def show(measured: Iterable[Row], console: Console) -> None:
    """Every population, with every kind of labels, as a table."""
    table = Table(
        Column("population", no_wrap=True),
        Column("labels", no_wrap=True),
        "error rate",
        "wrong",
        "most wrong",
        "hits",
        "best fixed, as wrong",
        "best fixed",
        f"{_FIXED} hits",
        f"{_FIXED} wrong",
    )
    for row in measured:
        shares = (
            row.learned.wrong,
            row.most_wrong,
            row.learned.hits,
            row.same_wrong.hits,
            row.best.hits,
            row.usual.hits,
            row.usual.wrong,
        )
        rate = f"{row.error_rate:.0%}"
        table.add_row(row.population, row.labels, rate, *(f"{100 * share:.2f} %" for share in shares))
    console.print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.feedback", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="streams of each population; one takes three minutes")
    show(rows(parser.parse_args().seeds), Console(width=150))


if __name__ == "__main__":
    main()
