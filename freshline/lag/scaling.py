"""Scaling one group: from its lag and from what its workers did to how many replicas it needs, and why.

    what is known? ▸ rate ▸ loads ▸ demand ▸ does the store answer? ▸ do more help? ▸ floor and ceiling

Whatever is not known holds the number: replicas that come or go for nothing cost more than a minute's patience.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from freshline.lag.capacity import Capacity
from freshline.lag.demand import (
    GRACE_S,
    Demand,
    Reason,
    Topics,
    bounded,
    demand,
    load_per_s,
    published,
)
from freshline.lag.packing import replicas_for
from freshline.lag.report import GroupLag
from freshline.lag.saturation import Saturation
from infra.settings import DemandSettings
from schemas.work_done import WorkDone

# Under this share of what the replicas can do, with enough to do, something keeps them from it.
_WORKING: Final = 0.20
# Whoever was not needed for so long is let go, also where the band would keep him: whole partitions make it wide.
_HELD_S: Final = 600.0


class Scaling:
    """Of one group, round by round."""

    def __init__(self, targets: DemandSettings) -> None:
        """Know nothing yet."""
        self._targets = targets
        self._capacity = Capacity()
        self._saturation = Saturation()
        self._former: int | None = None
        # When how many were needed.
        self._needed: deque[tuple[float, int]] = deque()

    def see(self, now_s: float, group: GroupLag, work: Iterable[WorkDone] | None) -> GroupLag:
        """The group with its demand; without one while nothing was ever known of it.

        Args:
            now_s: by a monotonic clock.
            group: its lag, and its members.
            work: what its workers said with their commits; None where the commits are not known.
        """
        if work is not None:
            self._capacity.see(now_s, work)
        wanted = self._wanted(now_s, group)
        if wanted is None:
            return group
        self._former = wanted.replicas
        told = replace(wanted, replicas=published(wanted.replicas, group.members or 0))
        told = bounded(told, self._targets, partitions=len(group.partitions))
        return replace(group, demand=replace(wanted, replicas=told.replicas))

    def _wanted(self, now_s: float, group: GroupLag) -> Demand | None:
        partitions = len(group.partitions)
        if self._former is None and group.members:
            # Whoever watched before was calm about these, so they are where this one begins.
            self._former = group.members
        loads = _loads(group, self._targets.recovery_s) if group.is_known else None
        if loads is None or group.members is None:
            # Neither the floor nor any other number would be true, and an HPA that is told nothing changes nothing.
            return None if self._former is None else self._held("unknown", partitions)
        rate = self._capacity.rate_per_s
        if rate is None:
            if not group.members and not any(map(any, loads)):
                return bounded(Demand(self._targets.floor, "idle"), self._targets, partitions=partitions)
            return self._held("no_rate", partitions, least=1)
        wanted = self._let_go(now_s, demand(loads, rate, self._targets, self._former), loads, rate)
        former = self._former if self._former is not None else wanted.replicas
        if wanted.replicas > former and not self._capacity.is_ever_full:
            # They take all that there is each time, so more of them would do no more.
            return self._held("no_rate", partitions, least=1)
        if wanted.replicas > former and self._is_kept_from_work(group, rate):
            return self._held("store_away", partitions)
        return self._useful(now_s, group, wanted, partitions)

    def _let_go(self, now_s: float, wanted: Demand, loads: Topics, rate: float) -> Demand:
        """What is needed for as long as it was the most that was needed, where more is only held."""
        self._needed.append((now_s, replicas_for(loads, rate, self._targets.utilisation)[0]))
        while len(self._needed) > 1 and self._needed[1][0] <= now_s - _HELD_S:
            self._needed.popleft()
        most = max(needed for _, needed in self._needed)
        if wanted.reason == "held" and most < wanted.replicas and self._needed[0][0] <= now_s - _HELD_S:
            return Demand(most, "load")
        return wanted

    def _held(self, reason: Reason, partitions: int, *, least: int = 0) -> Demand:
        former = self._former if self._former is not None else max(1, self._targets.floor)
        return bounded(Demand(max(least, former), reason), self._targets, partitions=partitions)

    def _is_kept_from_work(self, group: GroupLag, rate: float) -> bool:
        """Whether the replicas do hardly anything although there is enough to do."""
        behind = sum(
            1 for each in group.partitions if (each.messages or 0) > GRACE_S * max(each.arrival_per_s or 0.0, 1.0)
        )
        done = self._capacity.done_lately_per_s
        return done is not None and done < _WORKING * rate * min(group.members or 0, behind)

    def _useful(self, now_s: float, group: GroupLag, wanted: Demand, partitions: int) -> Demand:
        done, busy = self._capacity.done_per_s, self._capacity.busy
        if group.members and done is not None and busy is not None:
            self._saturation.see(now_s, group.members, done, busy, self._capacity.window_s)
        cap = self._saturation.cap(now_s)
        if cap is not None and wanted.replicas > cap:
            wanted = Demand(cap, "saturated")
        return bounded(wanted, self._targets, partitions=partitions)


def _loads(group: GroupLag, recovery_s: float) -> Topics | None:
    """By topic, of its partitions; None where that of one is not known."""
    found: dict[str, list[float]] = defaultdict(list)
    for each in group.partitions:
        if each.arrival_per_s is None or each.messages is None:
            return None
        found[each.topic].append(load_per_s(each.arrival_per_s, each.messages, recovery_s))
    return list(found.values())
