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

from freshline.lag.partition import Lag, lag_of, next_offset
from freshline.lag.rates import Arrivals
from freshline.lag.report import GroupLag, PartitionLag
from freshline.lag.scaling import Scaling
from freshline.lag.status import Standing, Status, status_of, stood
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


class _History:
    """What is remembered of one group."""

    def __init__(self) -> None:
        self.places = Arrivals[Partition]()
        self.standing: dict[Partition, Standing] = {}
        # All partitions that it was seen with: they are unknown, not gone, while nobody answers.
        self.partitions: set[Partition] = set()


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
        self._histories: dict[str, _History] = {}
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
        found = [
            GroupLag(
                group,
                [
                    PartitionLag(partition.topic, partition.partition, "unknown")
                    for partition in sorted(history.partitions)
                ],
                is_known=False,
            )
            for group, history in self._histories.items()
        ]
        now_s = self._clock()
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
            for partition in self._partitions(group, facts)
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

    def _partitions(self, group: str, facts: _Facts) -> set[Partition]:
        """Those of every topic that it reads."""
        return {
            Partition(topic, number) for topic in self._topics(group, facts) for number in facts.topics[topic].leaders
        }

    def _group(
        self,
        group: str,
        facts: _Facts,
        unread: Mapping[tuple[Partition, int], Unread],
        arrivals: Mapping[Partition, float],
        now_s: float,
    ) -> GroupLag:
        history = self._histories.setdefault(group, _History())
        committed = facts.committed.get(group)
        # A topic of which no broker says more than that it exists: its partitions are the ones that were seen.
        silent = {topic for topic in self._topics(group, facts) if not facts.topics[topic].leaders}
        seen = history.partitions.union(committed or ())
        if committed is not None or not history.partitions:
            history.partitions = self._partitions(group, facts) | {p for p in seen if p.topic in silent}
        is_known = committed is not None and silent <= {partition.topic for partition in history.partitions}
        lags: dict[Partition, Lag | None] = {}
        for partition in sorted(history.partitions):
            bounds = facts.bounds.get(partition)
            lags[partition] = None
            if committed is not None and bounds is not None:
                place = next_offset(committed.get(partition), bounds)
                first = unread.get((partition, place))
                if place >= bounds.end or first is not None:
                    lags[partition] = lag_of(committed.get(partition), bounds, first, self._now() * 1000)
        history.places.see(now_s, {p: lag.next_offset for p, lag in lags.items() if lag is not None})
        service = history.places.per_s()
        has_members = facts.states.get(group, "Dead") not in _WITHOUT_MEMBERS
        found: list[PartitionLag] = []
        for partition, lag in lags.items():
            if lag is None:
                found.append(PartitionLag(partition.topic, partition.partition, "unknown"))
                continue
            standing = stood(history.standing.pop(partition, None), lag, now_s)
            if standing is not None:
                history.standing[partition] = standing
            found.append(
                PartitionLag(
                    partition.topic,
                    partition.partition,
                    self._status(lag, standing, now_s, has_members=has_members),
                    messages=lag.messages,
                    seconds=lag.seconds,
                    arrival_per_s=arrivals.get(partition),
                    service_per_s=service.get(partition),
                    overtaken=lag.overtaken,
                )
            )
        return GroupLag(group, found, is_known=is_known)

    def _status(self, lag: Lag, standing: Standing | None, now_s: float, *, has_members: bool) -> Status:
        return status_of(
            lag,
            standing,
            now_s,
            has_members=has_members,
            lagging_s=self._watched.lagging_s,
            stalled_s=self._watched.stalled_s,
        )
