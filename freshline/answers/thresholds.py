"""Learned thresholds: may the answer of a similar question be served, so that few enough served answers are wrong?

After vCache (Schroeder et al., ICLR 2026, arXiv 2502.03771): each cached question learns from what is *observed* of it
(how similar a question was, and whether the cached answer was right for it) a logistic curve of P(right | similarity),
and a decision either serves the cached answer or *explores*: an answer is made anew and compared, which is a new
observation. Two things differ. What is likely of a curve before anything is observed is *pooled* from all questions of
a namespace, so that a new one need not begin with nothing. And the error rate does not rest on the curves being
logistic, or on anything else about them. They only rank; a *balance* of wrong answers decides how far down that
ranking answers are served:

    similarity ──► curves, as far as observed ──► risk ─────────┐
                                                                 ├──► explore_probability ──► serve, or explore
    outcomes ────► balance: allowed, less estimate and margin ──┘

Every decision allows ``error_rate`` of a wrong answer. What was served wrongly is estimated from what was explored:
an answer that would have been served, but was explored, as happens with probability e, and proves wrong, stands for
(1 - e) / e that were served wrongly. That estimate is unbiased whatever the questions are like. A fuller balance
tolerates more risk and explores less; without a balance nothing is served.

**What is promised.** Of all questions that found a cached one, the share that is answered wrongly stays under
``error_rate``, save for a chance of about a thousandth at a given moment (the margin is three standard deviations)…

* …if explored answers are compared. Questions, thresholds and popularity may change as they like. Some comparisons may
  be missing, but not because of what they would have said. A comparison that takes right answers for wrong ones costs
  hits; one that takes a share m of wrong answers for right ones lets up to 1 / (1 - m) times as many through.
* …if there are only reports of users, as long as wrong answers are reported at least as often as right ones; then save
  for a chance of about a hundredth. Where right ones are reported k times as often, up to k times ``error_rate`` may be
  wrong. How often both are reported need not be known, but rare reports teach slowly: until they suffice, a share
  ``PROBED`` of the error rate is all that is served, by chance.
* If only wrong answers are reported, or nobody reports, nothing beyond these probes is ever served.
* Outcomes that are late are late for the balance: where things turn for the worse, what is decided until these arrive
  may be wrong besides.

Whoever may report at will may fill the balance, so an answer's report must count once.
"""

from __future__ import annotations

import math
from typing import Final, Self, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

MARGIN_DEVIATIONS: Final = 3.0
# The balance in wrong answers at which e times the error rate is tolerated as the risk of a single answer.
BALANCE_SCALE: Final = 15.0
# An answer that is explored and proves wrong takes no more than this share of the balance, before the margin. While no
# such answer was found, a balance spent unseen has then a chance of about e^-7, whoever makes the questions.
STAKE: Final = 1.0 / 7.0
# So many reports of wrong answers may be missing by chance; more with a chance of a hundredth.
UNREPORTED: Final = 4.6
LEAST_EXPLORED: Final = 0.05
# What is more likely wrong than right is not served, however much is allowed.
HIGHEST_RISK: Final = 0.5
# Where only reports teach, this share of the error rate is served without any knowledge: it can't do more harm.
PROBED: Final = 0.75
# Then the past counts half, so that a good year does not pay for a bad day.
DECISIONS_REMEMBERED: Final = 50_000.0

_Floats: TypeAlias = NDArray[np.float64]

# Similarities are kept in steps of equal distance, which is about sqrt(1 - similarity): fine near 1, where it matters.
STEPS: Final = 32
_LAST_DISTANCE: Final = 0.71
_MOST_COUNTED: Final = 65_535


def step_of(similarity: float) -> int:
    """The step of a similarity: 0 is the most similar, and all below a half share the last one."""
    distance = math.sqrt(1.0 - min(1.0, max(0.0, similarity)))
    return min(STEPS - 1, int(distance / _LAST_DISTANCE * STEPS))


def _curves() -> _Floats:
    """P(right) for each curve and step: soft and sharp ones, with thresholds from a half to beyond what is possible."""
    similarities = 1.0 - ((np.arange(STEPS) + 0.5) * _LAST_DISTANCE / STEPS) ** 2
    distances = np.linspace(-0.4, 0.72, 44)
    thresholds = 1.0 - distances * np.abs(distances)
    slopes = np.array([8.0, 20.0, 50.0, 120.0, 300.0])
    exponents = slopes[:, None, None] * (similarities - thresholds[:, None])
    curves: _Floats = 1.0 / (1.0 + np.exp(-np.clip(exponents, -30.0, 30.0)))
    return curves.reshape(-1, STEPS)


_RIGHT: Final = _curves()
_LOG_RIGHT: Final = np.log(_RIGHT)
_LOG_WRONG: Final = np.log1p(-_RIGHT)
_CURVES: Final = len(_RIGHT)
# For each step, the curves from the most to the least trusting.
_RANKED: Final = np.argsort(-_RIGHT, axis=0, kind="stable")
_STORED: Final = np.dtype("<f4")
# As if three questions had been seen, of which nothing was learned.
_UNKNOWN: Final = np.full(_CURVES, 3.0 / _CURVES, _STORED).tobytes()


class Observations(msgspec.Struct, frozen=True, array_like=True):
    """What is known of one cached question: how often its answer was right, and wrong, at each step of similarity."""

    right: tuple[int, ...] = (0,) * STEPS
    wrong: tuple[int, ...] = (0,) * STEPS

    def __post_init__(self) -> None:
        """Refuse counts that were kept in other steps.

        Raises:
            ValueError: they were.
        """
        if not len(self.right) == len(self.wrong) == STEPS:
            raise ValueError(f"observations are counted in {STEPS} steps, not {len(self.right)} and {len(self.wrong)}")

    def with_observation(self, similarity: float, correct: bool) -> Observations:
        """These and one more."""
        step = step_of(similarity)
        counts = self.right if correct else self.wrong
        counts = (*counts[:step], min(_MOST_COUNTED, counts[step] + 1), *counts[step + 1 :])
        return Observations(counts, self.wrong) if correct else Observations(self.right, counts)

    def pack(self) -> bytes:
        """At most 200 bytes."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """What was packed.

        Raises:
            msgspec.DecodeError: it was not, or by a version with other steps.
        """
        return msgspec.msgpack.decode(packed, type=cls)


class Pooled(msgspec.Struct, frozen=True, array_like=True):
    """What is known of all cached questions of a namespace together.

    The sums are about decisions, each outcome standing for as many of them as its probability says. Where outcomes are
    reports they are smaller by the share of answers that is reported, all alike, and their balance keeps its sign.

    Attributes:
        weights: how many questions are like each of the curves, single precision.
        decisions: how many decisions there were.
        decisions_squared: the sum of the squares of what was added to them.
        errors: how many of them served a wrong answer.
        errors_squared: the sum of the squares of what was added to these.
        compared: how many outcomes came from exploring.
    """

    weights: bytes = _UNKNOWN
    decisions: float = 0.0
    decisions_squared: float = 0.0
    errors: float = 0.0
    errors_squared: float = 0.0
    compared: int = 0

    def __post_init__(self) -> None:
        """Refuse weights of other curves.

        Raises:
            ValueError: they are.
        """
        if len(self.weights) != len(_UNKNOWN):
            raise ValueError(f"there are weights for {_CURVES} curves, not for {len(self.weights) // _STORED.itemsize}")

    def balance(self, error_rate: float) -> float:
        """How many more wrong answers are allowed, by a cautious estimate of those that were served."""
        variance = error_rate**2 * self.decisions_squared + self.errors_squared
        unreported = 0.0 if self.compared else UNREPORTED
        return error_rate * self.decisions - self.errors - unreported - MARGIN_DEVIATIONS * math.sqrt(variance)

    def with_outcome(
        self, before: Observations, similarity: float, correct: bool, *, served: bool, explore_probability: float
    ) -> Pooled:
        """This and one outcome more: an explored answer was compared, or a served one reported.

        Args:
            before: what is known of the cached question without this outcome.
            similarity: of the question that was asked.
            correct: whether the cached answer was, or would have been, right for it.
            served: whether it was served; else it was explored.
            explore_probability: of the decision then.

        Raises:
            ValueError: what is said to have happened had no probability.
        """
        probability = 1.0 - explore_probability if served else explore_probability
        if not 0.0 < probability <= 1.0:
            raise ValueError(f"served={served} can't have come of an explore_probability of {explore_probability}")
        decisions = 1.0 / probability
        errors = 0.0 if correct else (1.0 if served else (1.0 - probability) / probability)
        weights = np.frombuffer(self.weights, _STORED).astype(np.float64)
        # A question's share moves to where it is now thought to belong: one step of expectation maximisation.
        moved = weights + _likely(weights, before.with_observation(similarity, correct))
        if any(before.right) or any(before.wrong):
            moved -= _likely(weights, before)
        kept = 0.5 if self.decisions + decisions > DECISIONS_REMEMBERED else 1.0
        return Pooled(
            (kept * np.maximum(moved, 1e-9)).astype(_STORED).tobytes(),
            kept * (self.decisions + decisions),
            kept**2 * (self.decisions_squared + decisions**2),
            kept * (self.errors + errors),
            kept**2 * (self.errors_squared + errors**2),
            self.compared + (not served),
        )

    def pack(self) -> bytes:
        """About a kilobyte."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """What was packed.

        Raises:
            msgspec.DecodeError: it was not, or by a version with other curves.
        """
        return msgspec.msgpack.decode(packed, type=cls)


class Decision(msgspec.Struct, frozen=True):
    """Whether to serve the cached answer. What came of it needs ``explore_probability`` again.

    Attributes:
        serve: serve the cached answer; else make one anew, and compare the two.
        probability_correct: that the cached answer is right, on average over the curves that may be true.
        probability_correct_at_least: the best that can be said of it with a share 1 - ε of these curves, counting the
            others as wrong: vCache's bound.
        explore_probability: with which the answer is made anew although it could be served; 1 where it could not.
        reason: trusted, audited, doubtful, unearned or probed.
    """

    serve: bool
    probability_correct: float
    probability_correct_at_least: float
    explore_probability: float
    reason: str


class Policy(msgspec.Struct, frozen=True):
    """Decides under an error rate: the share of questions that may be answered wrongly from the cache."""

    error_rate: float

    def __post_init__(self) -> None:
        """Refuse what is no rate.

        Raises:
            ValueError: it must lie between 0 and 1.
        """
        if not 0.0 < self.error_rate < 1.0:
            raise ValueError(f"an error rate of {self.error_rate} leaves nothing to learn: it lies between 0 and 1")

    def decide(self, observations: Observations, pooled: Pooled | None, similarity: float, uniform: float) -> Decision:
        """What to do with a question that is similar to a cached one.

        Args:
            observations: what is known of the cached question.
            pooled: what is known of all; None where that is nothing.
            similarity: of the two, from 0 to 1.
            uniform: a random number, at least 0 and below 1, that nobody who asks can foresee.
        """
        pooled = pooled or Pooled()
        correct, at_least = _probability(pooled, observations, step_of(similarity))
        balance = pooled.balance(self.error_rate)
        tolerated = balance > 0.0 and 1.0 - correct <= self._tolerated_risk(balance)
        explore = 1.0
        if not pooled.compared and 1.0 - correct <= HIGHEST_RISK:
            explore = 1.0 - PROBED * self.error_rate
        if tolerated:
            explore = min(explore, max(LEAST_EXPLORED, 1.0 / (1.0 + STAKE * balance)))
        serve = uniform >= explore
        if tolerated:
            reason = "trusted" if serve else "audited"
        elif serve:
            reason = "probed"
        else:
            reason = "doubtful" if balance > 0.0 else "unearned"
        return Decision(serve, correct, at_least, explore, reason)

    def _tolerated_risk(self, balance: float) -> float:
        """It grows with the balance until the answers that it lets through use up what every decision allows."""
        exponent = min(balance / BALANCE_SCALE, math.log(HIGHEST_RISK / self.error_rate))
        return self.error_rate * math.exp(exponent)


def _likely(weights: _Floats, observations: Observations, nearest: int = 0) -> _Floats:
    """How likely each curve is, given what was observed; right ones only from a step on."""
    right = np.array(observations.right[nearest:], np.float64)
    logs = _LOG_RIGHT[:, nearest:] @ right + _LOG_WRONG @ np.array(observations.wrong, np.float64)
    likely: _Floats = weights * np.exp(logs - logs.max())
    likely /= likely.sum()
    return likely


def _probability(pooled: Pooled, observations: Observations, step: int) -> tuple[float, float]:
    """That the cached answer is right at a step: on average, and at least.

    Right answers at higher similarities are left out. They say little about lower ones, and a curve that is sharper for
    their sake would have them speak *against* lower ones.
    """
    weights = np.frombuffer(pooled.weights, _STORED).astype(np.float64)
    likely = _likely(weights, observations, step)
    ranked = _RANKED[:, step]
    bounds = np.cumsum(likely[ranked]) * _RIGHT[ranked, step]
    return float(likely @ _RIGHT[:, step]), float(bounds.max())
