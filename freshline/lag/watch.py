"""Watching groups, round by round: ask the brokers, then say what it means.

    groups ▸ what they committed ▸ topics ▸ bounds ▸ the first record behind ▸ lag ▸ rates ▸ status

A group's place is asked for before the ends of its topics, so a lag is never less than nothing. What is remembered from
round to round is for rates alone: a process that is started anew knows all lags at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec
from msgspec.structs import replace

from freshline.lag.history import GroupHistory
from freshline.lag.partition import Lag, lag_of, next_offset
from freshline.lag.rates import Arrivals
from freshline.lag.report import GroupLag
from freshline.lag.scaling import Scaling
from infra.kafka.log import Partition
from infra.kafka.observer import Bounds, Committed, Observer, Unread
from infra.kafka.topic_ids import TopicNow
from infra.settings import DemandSettings
from schemas.work_done import WorkDone

# The states of a group that nobody is in. In all others there are members, who may just be changing places.
_WITHOUT_MEMBERS = frozenset(("Empty", "Dead"))


class Watched(msgspec.Struct, frozen=True):
    """What is watched.

    Attributes:
        topics: that groups are known to read, by group: also where they have committed nothing yet.
        patterns: of the names of other groups, with ``*``; those are known by what they committed.
        scaled: groups whose demand is told, and what is promised of them.
        lagging_s: a record older than this is late.
        stalled_s: who has not moved for so long, while more came, is stalled.
    """

    topics: Mapping[str, Collection[str]]
    patterns: Sequence[str] = ()
    scaled: Mapping[str, DemandSettings] = {}
    lagging_s: float = 30.0
    stalled_s: float = 60.0


class _Facts(msgspec.Struct, frozen=True):
    """What the brokers said in one round."""

    states: Mapping[str, str]
    committed: Mapping[str, Mapping[Partition, Committed]]
    topics: Mapping[str, TopicNow]
    bounds: Mapping[Partition, Bounds]


class LagWatch:
    """Watches. Takes an open observer; closes nothing."""

    def __init__(
        self,
        observer: Observer,
        watched: Watched,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Know nothing yet.

        Args:
            observer: asks the brokers.
            watched: what is watched.
            clock: a monotonic clock, in seconds.
            now: seconds since 1970.
        """
        self._observer = observer
        self._watched = watched
        self._clock = clock
        self._now = now
        self._ends = Arrivals[tuple[Partition, str]]()
        self._histories: dict[str, GroupHistory] = {}
        self._scalings = {group: Scaling(targets) for group, targets in watched.scaled.items()}
        self._unread: dict[tuple[Partition, str, int], Unread] = {}
        # Groups that a broker named once. Where none does any more, the group is gone, or its coordinator is away.
        self._listed: set[str] = set()

    async def round(self) -> list[GroupLag]:
        """Look at every group once.

        Raises:
            StoreUnavailableError: no broker answers. (What single ones don't say is unknown in the report.)
        """
        states = await self._observer.states()
        groups = [*self._watched.topics, *(name for name in sorted(states) if self._is_wanted(name))]
        self._listed |= states.keys()
        committed = await self._observer.committed(group for group in groups if group in self._listed)
        # A group of which no broker has ever heard has committed nothing.
        committed |= {group: {} for group in groups if group not in self._listed}
        names = {partition.topic for places in committed.values() for partition in places}
        topics = await self._observer.topics(names.union(*self._watched.topics.values()))
        bounds = await self._observer.bounds(topics)
        members = await self._observer.members(
            group for group in groups if group in self._scalings and group in self._listed
        )
        facts = _Facts(states, committed, topics, bounds)
        now_s = self._clock()
        self._ends.see(now_s, {(p, topics[p.topic].id): found.log_end for p, found in bounds.items()})
        unread = await self._first_unread(facts)
        arrivals = {partition: rate for (partition, _), rate in self._ends.per_s().items()}
        found = [self._group(group, facts, unread, arrivals, now_s) for group in groups]
        return [self._scaled(now_s, each, facts, members) for each in found]

    def _scaled(self, now_s: float, group: GroupLag, facts: _Facts, members: Mapping[str, int]) -> GroupLag:
        if group.group not in self._scalings:
            return group
        # A group of which no broker has ever heard has no members.
        count = members.get(group.group) if group.group in self._listed else 0
        committed = facts.committed.get(group.group)
        work: list[WorkDone] | None = None
        if committed is not None:
            said = (WorkDone.decode(each.metadata) for each in committed.values())
            work = [each for each in said if each is not None]
        return self._scalings[group.group].see(now_s, replace(group, members=count), work)

    def unknown(self) -> list[GroupLag]:
        """What can be said while no broker answers: of everything seen so far, that it is not known."""
        now_s = self._clock()
        found = [history.unknown() for history in self._histories.values()]
        return [
            self._scalings[each.group].see(now_s, each, None) if each.group in self._scalings else each
            for each in found
        ]

    def _is_wanted(self, group: str) -> bool:
        return group not in self._watched.topics and any(fnmatchcase(group, each) for each in self._watched.patterns)

    async def _first_unread(self, facts: _Facts) -> dict[tuple[Partition, int], Unread]:
        """The first record behind each place that is before an end. What was found once stays as it is."""
        places = {
            (partition, next_offset(places.get(partition), facts.bounds[partition]))
            for group, places in facts.committed.items()
            for partition in _partitions(self._topics(group, facts), facts)
            if partition in facts.bounds
        }
        known: dict[tuple[Partition, str, int], Unread] = {}
        found: dict[tuple[Partition, int], Unread] = {}
        wanted = [place for place in places if place[1] < facts.bounds[place[0]].end]
        ends = {partition: bounds.end for partition, bounds in facts.bounds.items()}
        # Each request has a partition but once, and groups may stand at several places of it.
        while wanted:
            positions = dict(wanted)
            wanted = [(partition, offset) for partition, offset in wanted if positions[partition] != offset]
            keys = {p: (p, facts.topics[p.topic].id, offset) for p, offset in positions.items()}
            remembered = {p: self._unread[key] for p, key in keys.items() if key in self._unread}
            ahead = {
                p: remembered[p].offset if p in remembered else offset
                for p, offset in positions.items()
                if p not in remembered or remembered[p].timestamp_ms is None
            }
            answers = remembered | await self._observer.unread(ahead, ends, facts.topics)
            for partition, answer in answers.items():
                found[partition, positions[partition]] = answer
                known[keys[partition]] = answer
        self._unread = known
        return found

    def _topics(self, group: str, facts: _Facts) -> set[str]:
        """Those that it reads, and that exist."""
        committed = {partition.topic for partition in facts.committed.get(group, ())}
        return committed.union(self._watched.topics.get(group, ())) & facts.topics.keys()

    def _group(
        self,
        group: str,
        facts: _Facts,
        unread: Mapping[tuple[Partition, int], Unread],
        arrivals: Mapping[Partition, float],
        now_s: float,
    ) -> GroupLag:
        history = self._histories.get(group)
        if history is None:
            history = self._histories[group] = GroupHistory(
                group, lagging_s=self._watched.lagging_s, stalled_s=self._watched.stalled_s
            )
        committed = facts.committed.get(group)
        topics = self._topics(group, facts)
        silent = {topic for topic in topics if not facts.topics[topic].leaders}
        partitions = history.known_partitions(committed, _partitions(topics, facts), silent)
        return history.report(
            now_s,
            {each: self._lag(each, committed, facts.bounds.get(each), unread) for each in partitions},
            arrivals,
            has_members=facts.states.get(group, "Dead") not in _WITHOUT_MEMBERS,
            is_known=committed is not None and silent <= {partition.topic for partition in partitions},
        )

    def _lag(
        self,
        partition: Partition,
        committed: Mapping[Partition, Committed] | None,
        bounds: Bounds | None,
        unread: Mapping[tuple[Partition, int], Unread],
    ) -> Lag | None:
        if committed is None or bounds is None:
            return None
        place = next_offset(committed.get(partition), bounds)
        first = unread.get((partition, place))
        if place < bounds.end and first is None:
            return None
        return lag_of(committed.get(partition), bounds, first, self._now() * 1000)


def _partitions(topics: Collection[str], facts: _Facts) -> set[Partition]:
    return {Partition(topic, number) for topic in topics for number in facts.topics[topic].leaders}
