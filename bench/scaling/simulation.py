"""A group under a load, second by second, scaled by a rule through an HPA.

arrivals ▸ replicas do what they can ▸ (every 5 s) the rule looks ▸ (every 15 s, 5 s late) the HPA decides
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import msgspec
import numpy as np

from bench.scaling.hpa import Autoscaler, Behaviour
from bench.scaling.loads import Floats, Load
from bench.scaling.rules import Rule, Seen
from schemas.work_done import WorkDone

_NOISE: Final = 0.05
# Of what it can do, with so much a replica's batches are full.
_FULL: Final = 0.8
TARGET_S: Final = 60.0


class Pace(msgspec.Struct, frozen=True):
    """How long things take, in seconds.

    Attributes:
        look_s: between two looks of the rule.
        sync_s: between two decisions of the autoscaler.
        stale_s: a scrape, and the adapter's cache.
        pod_starts_s: until a pod reads.
        rebalance_s: in which nobody reads, since a group's members change.
    """

    look_s: int = 5
    sync_s: int = 15
    stale_s: int = 5
    pod_starts_s: int = 10
    rebalance_s: int = 3


class Outcome(msgspec.Struct, frozen=True):
    """What came out.

    Attributes:
        over_s: seconds in which the oldest record that waited was older than the recovery target.
        replica_s: replica-seconds that ran.
        oracle_s: that were needed, by somebody who knows the load: as few as can do what they get.
        changes: of the number of replicas.
        reversals: changes in the other direction than the one before.
        replicas: second by second; shape (seconds,).
        lag_s: the age of the oldest record; shape (seconds,).
        lag_messages: shape (seconds,).
        asked: what the rule asked for, in replicas; shape (seconds,).
    """

    over_s: int
    replica_s: int
    oracle_s: int
    changes: int
    reversals: int
    replicas: Floats
    lag_s: Floats
    lag_messages: Floats
    asked: Floats


class _Group:
    """The consumers, and what waits for them."""

    def __init__(self, rate_per_s: float, partitions: int, pace: Pace, random: np.random.Generator) -> None:
        self._rate = rate_per_s
        self._partitions = partitions
        self._pace = pace
        self._random = random
        self.members = 1
        self._starting: deque[int] = deque()
        self._paused_until_s = 0
        self.ends = np.zeros(partitions)
        self.done = np.zeros(partitions)
        self._history: list[Floats] = []
        self._oldest = np.zeros(partitions, dtype=np.int64)
        # By member: records, busy seconds, and of these two what was in full batches.
        self._work = np.zeros((partitions, 4))

    def scale(self, now_s: int, replicas: int) -> None:
        """Let there be so many; pods that are new take their time."""
        wanted = replicas - self.members - len(self._starting)
        for _ in range(max(0, wanted)):
            self._starting.append(now_s + self._pace.pod_starts_s)
        while wanted < 0 and self._starting:
            self._starting.pop()
            wanted += 1
        if wanted < 0:
            self.members += wanted
            self._paused_until_s = now_s + self._pace.rebalance_s

    def step(self, now_s: int, arriving: Floats, store: float) -> None:
        """One second."""
        joined = 0
        while self._starting and self._starting[0] <= now_s:
            self._starting.popleft()
            joined += 1
        if joined:
            self.members += joined
            self._paused_until_s = now_s + self._pace.rebalance_s
        self.ends = self.ends + self._random.poisson(arriving)
        self._history.append(self.ends)
        if now_s < self._paused_until_s or store <= 0:
            return
        able = min(1.0, store / self.members) * self._rate * max(0.1, self._random.normal(1, _NOISE))
        for member in range(self.members):
            mine = np.arange(member, self._partitions, self.members)
            did = _shared(self.ends[mine] - self.done[mine], able)
            self.done[mine] += did
            step = np.array([did.sum(), min(1.0, did.sum() / able)])
            self._work[member] += np.concatenate([step, step * (did.sum() >= _FULL * able)])

    def seen(self, now_s: int) -> Seen:
        """How it looks from outside."""
        work = [
            WorkDone(f"w{member}", round(records), busy_s, round(full_records), full_busy_s)
            for member, (records, busy_s, full_records, full_busy_s) in enumerate(self._work.tolist())
        ]
        return Seen(now_s, self.ends, self.ends - self.done, self.age_s(now_s), self.members, work)

    def age_s(self, now_s: int) -> float:
        """Of the oldest record that waits."""
        oldest = now_s + 1
        for number in range(self._partitions):
            at = self._oldest[number]
            while at <= now_s and self._history[at][number] <= self.done[number]:
                at += 1
            self._oldest[number] = at
            oldest = min(oldest, int(at))
        return float(now_s + 1 - oldest)


def _shared(waiting: Floats, able: float) -> Floats:
    """What is done of each partition by a replica that reads them in turn."""
    did = np.zeros_like(waiting)
    for _ in range(len(waiting)):
        open_ = waiting - did > 0
        left = able - did.sum()
        if left <= 1e-9 or not open_.any():
            break
        did[open_] = np.minimum(waiting[open_], did[open_] + left / open_.sum())
    return did


def simulate(
    load: Load,
    rule: Rule,
    behaviour: Behaviour,
    *,
    rate_per_s: float,
    most: int | None = None,
    target_s: float = TARGET_S,
    pace: Pace = Pace(),  # noqa: B008 - frozen
    seed: int = 1,
) -> Outcome:
    """As long as the load lasts.

    Args:
        load: what happens.
        rule: what tells the autoscaler.
        behaviour: of the autoscaler.
        rate_per_s: records that a replica does in a second of work.
        most: replicas; as many as there are partitions, if it is not given.
        target_s: how old the oldest record that waits may be.
        pace: how long things take.
        seed: of what is random.
    """
    random = np.random.default_rng(seed)
    partitions, length_s = len(load.shares), len(load.replicas)
    most = partitions if most is None else most
    group, autoscaler = _Group(rate_per_s, partitions, pace, random), Autoscaler(behaviour, least=1, most=most)
    told: deque[tuple[int, float]] = deque()
    replicas = 1
    series = np.zeros((4, length_s))
    usage = 0.0
    for now_s in range(length_s):
        group.step(now_s, load.replicas[now_s] * rate_per_s * load.shares, float(load.store[now_s]))
        if now_s % pace.look_s == 0:
            usage = rule.usage(group.seen(now_s))
            told.append((now_s, usage))
        if now_s % pace.sync_s == 0:
            while len(told) > 1 and told[1][0] <= now_s - pace.stale_s:
                told.popleft()
            replicas = autoscaler.decide(now_s, replicas, told[0][1], rule.target)
            group.scale(now_s, replicas)
        lag = float((group.ends - group.done).sum())
        series[:, now_s] = replicas, group.age_s(now_s), lag, usage / rule.target
    changes = np.diff(series[0])
    moves = changes[changes != 0]
    return Outcome(
        int((series[1] > target_s).sum()),
        int(series[0].sum()),
        sum(_needed(float(level), load.shares, most) for level in np.minimum(load.replicas, _lasting(load.store))),
        len(moves),
        int((np.sign(moves[1:]) != np.sign(moves[:-1])).sum()),
        *series,
    )


def _lasting(store: Floats) -> Floats:
    """What the store can do; an outage is no reason to let anybody go."""
    return np.where(store > 0, store, math.inf)


def _needed(level: float, shares: Floats, most: int) -> int:
    loads = np.minimum(1.0, level * shares)
    for members in range(1, most):
        if max(loads[member::members].sum() for member in range(members)) <= 1.0 + 1e-9:
            return members
    return most
