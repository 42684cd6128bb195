"""Loads: what arrives in each partition in each second, and what the store can do then. An hour each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

PARTITIONS: Final = 24
HOUR_S: Final = 3_600
# What one replica does in a second of work.
RATE_PER_S: Final = 200.0

Floats = NDArray[np.float64]


class Load(msgspec.Struct, frozen=True):
    """What happens.

    Attributes:
        replicas: of work that arrive in each second, in what one replica can do; shape (seconds,).
        shares: of the partitions; shape (partitions,).
        store: what the store can do in all, in replicas; shape (seconds,).
    """

    replicas: Floats
    shares: Floats
    store: Floats


def _load(level: Callable[[int], float], *, shares: Floats | None = None, store: Callable[[int], float] | None = None
          ) -> Load:  # fmt: skip
    seconds = range(HOUR_S)
    return Load(
        np.array([level(second) for second in seconds], dtype=np.float64),
        np.full(PARTITIONS, 1 / PARTITIONS) if shares is None else shares,
        np.array([math.inf if store is None else store(second) for second in seconds], dtype=np.float64),
    )


def _shares(weights: list[float]) -> Floats:
    return np.array([weight / sum(weights) for weight in weights])


_HOT: Final = _shares([6.0] + [1.0] * (PARTITIONS - 1))
_SKEWED: Final = _shares([rank**-0.7 for rank in range(1, PARTITIONS + 1)])


LOADS: Final[Mapping[str, Load]] = {
    "constant": _load(lambda _: 3.3),
    "step": _load(lambda s: 0.6 if s < 600 or s >= 2_400 else 6.0),
    "spike": _load(lambda s: 8.0 if s % 1_200 in range(600, 660) else 1.0),
    "day": _load(lambda s: 3.5 - 3.0 * math.cos(2 * math.pi * s / HOUR_S)),
    "sawtooth": _load(lambda s: 1.0 + 5.0 * (s % 900) / 900),
    "slow leak": _load(lambda s: 1.0 + 5.0 * s / HOUR_S),
    "hot partition": _load(lambda s: 2.0 if s < 900 else 3.6, shares=_HOT),
    "skewed keys": _load(lambda s: 1.5 if s < 900 else 4.5, shares=_SKEWED),
    "outage": _load(lambda _: 3.0, store=lambda s: 0.0 if 1_200 <= s < 1_320 else math.inf),
    "saturating store": _load(lambda s: 2.0 if s < 600 else 6.0, store=lambda _: 4.5),
}
