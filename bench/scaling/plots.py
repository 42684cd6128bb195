"""Drawings of how replicas followed. Needs matplotlib, which comes with what ``make test-k8s`` installs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from bench.scaling.loads import HOUR_S, LOADS
from bench.scaling.simulation import Outcome
from bench.scaling.timelines import Sample

_OURS, _OTHER, _REAL, _FAINT = "#0a6ebd", "#d1495b", "#222222", "#999999"
_SHOWN: Final = ("step", "day", "hot partition", "outage", "saturating store")


@contextmanager
def _drawing(file: Path, rows: int, columns: int, size: tuple[float, float]) -> Iterator[Any]:
    # The same drawing is the same file.
    with mpl.rc_context(
        {"svg.hashsalt": "freshline", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    ):
        figure, axes = plt.subplots(rows, columns, figsize=size, sharex="col", squeeze=False, layout="constrained")
        yield axes
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, metadata={"Date": None})
        plt.close(figure)


def draw_timeline(file: Path, samples: Sequence[Sample], target_s: float, outcome: Outcome | None = None) -> None:
    """Load, lag in messages and seconds, demand and replicas of a real run; and replicas of the simulated one."""
    at_s = [sample.at_s - samples[0].at_s for sample in samples]

    def values(name: str) -> list[float]:
        return [np.nan if (value := getattr(sample, name)) is None else value for sample in samples]

    with _drawing(file, 4, 1, (8, 7)) as axes:
        load, messages, seconds, replicas = axes[:, 0]
        load.step(at_s, values("load_per_s"), color=_FAINT, where="post")
        load.set_ylabel("records/s")
        messages.plot(at_s, values("lag_messages"), color=_REAL, linewidth=1)
        messages.set_ylabel("lag, records")
        seconds.plot(at_s, values("lag_s"), color=_REAL, linewidth=1)
        seconds.axhline(target_s, color=_OTHER, linestyle=":", label="recovery target")
        seconds.set_ylabel("lag, s")
        seconds.legend(frameon=False)
        replicas.step(at_s, values("replicas"), color=_OURS, where="post", label="replicas")
        replicas.step(at_s, values("demand"), color=_FAINT, where="post", linewidth=1, label="demand")
        if outcome is not None:
            replicas.step(range(len(outcome.replicas)), outcome.replicas, color=_OTHER, where="post", linewidth=1,
                          linestyle="--", label="replicas, simulated")  # fmt: skip
        replicas.set_ylabel("replicas")
        replicas.set_xlabel("s")
        replicas.legend(frameon=False)


def draw_hours(file: Path, by_rule: Mapping[str, Mapping[str, Outcome]]) -> None:
    """Replicas, and the age of the oldest record, by two rules under some loads."""
    rules = {"lag/1000": _OTHER, "demand": _OURS}
    at_min = np.arange(HOUR_S) / 60
    with _drawing(file, 2, len(_SHOWN), (14, 4.5)) as axes:
        for (replicas, seconds), name in zip(axes.T, _SHOWN, strict=True):
            replicas.set_title(name)
            replicas.plot(at_min, LOADS[name].replicas, color=_FAINT, linewidth=1, label="load, in replicas")
            for rule, colour in rules.items():
                outcome = by_rule[rule][name]
                replicas.step(at_min, outcome.replicas, color=colour, linewidth=1, where="post", label=rule)
                seconds.plot(at_min, np.maximum(outcome.lag_s, 1), color=colour, linewidth=1)
            seconds.set_yscale("log")
            seconds.set_xlabel("min")
        axes[0, 0].set_ylabel("replicas")
        axes[1, 0].set_ylabel("oldest record, s")
        axes[0, 0].legend(frameon=False, fontsize=7)
