"""What a broker does not say is unknown, from the first look on: never 0 or ok, no reason to send anybody away.

The brokers are made up: a real one can't be brought to be silent about one group or one topic alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from freshline.lag.demand import Demand
from freshline.lag.report import GroupLag
from freshline.lag.watch import LagWatch, Watched
from infra.kafka.log import Partition
from infra.kafka.observer import Bounds, Committed, Observer, Unread
from infra.kafka.topic_ids import TopicNow
from infra.settings import DemandSettings
from schemas.work_done import WorkDone

PARTITIONS = 4
WORK = WorkDone("w", 1_000, 10.0, 1_000, 10.0)


class Brokers:
    """They say what is set here."""

    def __init__(self) -> None:
        self.listed = {"g": "Stable"}
        self.silent: set[str] = set()
        self.leaders = dict.fromkeys(range(PARTITIONS), 1)
        self.end = 1_000

    async def states(self) -> dict[str, str]:
        """The groups that they name."""
        return self.listed

    async def committed(self, groups: Iterable[str]) -> dict[str, dict[Partition, Committed]]:
        """What these committed: all of everything."""
        places = {Partition("t", number): Committed(self.end, WORK.encode()) for number in range(PARTITIONS)}
        return {group: places for group in groups if group not in self.silent}

    async def members(self, groups: Iterable[str]) -> dict[str, int]:
        """Four of each."""
        return {group: 4 for group in groups if group not in self.silent}

    async def topics(self, _: Iterable[str]) -> dict[str, TopicNow]:
        """One, however many were asked for."""
        return {"t": TopicNow("id", self.leaders)}

    async def bounds(self, topics: Mapping[str, TopicNow]) -> dict[Partition, Bounds]:
        """Of its partitions."""
        return {Partition("t", number): Bounds(0, self.end, self.end) for number in topics["t"].leaders}

    async def unread(self, positions: Mapping[Partition, int], *_: Any) -> dict[Partition, Unread]:
        """All that lies there can be read."""
        return {partition: Unread(offset, 0) for partition, offset in positions.items()}


class Looking:
    """A watch that looks every five seconds."""

    def __init__(self, brokers: Brokers) -> None:
        self.now_s = 0.0
        watched = Watched({"g": ["t"]}, scaled={"g": DemandSettings(floor=1)})
        self._watch = LagWatch(cast("Observer", brokers), watched, clock=lambda: self.now_s)

    async def look(self) -> GroupLag:
        """One round, five seconds after the one before."""
        self.now_s += 5
        (found,) = await self._watch.round()
        return found


async def test_a_group_whose_coordinator_was_never_heard_is_unknown_and_no_number_is_told() -> None:
    brokers = Brokers()
    brokers.silent = {"g"}
    found = await Looking(brokers).look()
    assert found.status == "unknown"
    assert len(found.partitions) == PARTITIONS
    assert found.messages is None
    assert found.seconds is None
    assert found.demand is None


async def test_a_topic_of_which_no_more_is_said_than_that_it_exists_is_unknown() -> None:
    brokers = Brokers()
    brokers.leaders = {}
    found = await Looking(brokers).look()
    assert {each.status for each in found.partitions} == {"unknown"}
    assert found.status == "unknown"
    assert found.messages is None
    assert found.demand == Demand(4, "unknown")


async def test_a_group_that_is_listed_no_more_is_asked_for_before_it_is_taken_for_gone() -> None:
    brokers = Brokers()
    looking = Looking(brokers)
    await looking.look()
    before = await looking.look()
    assert before.messages == 0
    brokers.listed = {}
    assert (await looking.look()).messages == 0
    brokers.silent = {"g"}
    found = await looking.look()
    assert found.status == "unknown"
    assert before.demand is not None
    assert found.demand == Demand(before.demand.replicas, "unknown")


async def test_one_look_says_nothing_of_what_arrives_so_nobody_is_sent_away() -> None:
    found = await Looking(Brokers()).look()
    assert found.messages == 0
    assert found.arrival_per_s is None
    assert found.demand == Demand(4, "unknown")
