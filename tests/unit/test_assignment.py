"""Partitions of a group: every topic evenly, all of them evenly, and whoever has one keeps it where that allows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from hypothesis import given
from hypothesis import strategies as st

from infra.kafka.assignment import EvenTopicsAssignor, Member, spread
from infra.kafka.log import Partition

TOPICS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 24).map(range), min_size=1)
Assigned = Mapping[str, list[Partition]]


def members_of(count: int, topics: Mapping[str, range], assigned: Assigned | None = None) -> dict[str, Member]:
    names = [f"m{number:02}" for number in range(count)]
    return {name: Member(topics, (assigned or {}).get(name, ()), 1) for name in names}


def is_even(counts: list[int]) -> bool:
    return max(counts) - min(counts) <= 1


@given(topics=TOPICS, before=st.integers(1, 12), after=st.integers(1, 12))
def test_each_topic_is_even_and_all_together_are(topics: Mapping[str, range], before: int, after: int) -> None:
    first = spread(topics, members_of(before, topics))
    for assigned in (first, spread(topics, members_of(after, topics, first))):
        everything = [partition for each in assigned.values() for partition in each]
        assert sorted(everything) == [Partition(t, n) for t in sorted(topics) for n in topics[t]]
        assert is_even([len(each) for each in assigned.values()])
        for topic in topics:
            assert is_even([sum(partition.topic == topic for partition in each) for each in assigned.values()])


@given(topics=TOPICS, count=st.integers(1, 12))
def test_nothing_moves_where_nobody_came_or_went(topics: Mapping[str, range], count: int) -> None:
    first = spread(topics, members_of(count, topics))
    assert {name: sorted(each) for name, each in spread(topics, members_of(count, topics, first)).items()} == {
        name: sorted(each) for name, each in first.items()
    }


@given(topics=TOPICS, count=st.integers(1, 11))
def test_whoever_joins_takes_little_more_than_his_share(topics: Mapping[str, range], count: int) -> None:
    before = spread(topics, members_of(count, topics))
    after = spread(topics, members_of(count + 1, topics, before))
    moved = sum(partition not in before[name] for name in before for partition in after[name])
    # Between those who were there before, no more than who of them has one more of a topic.
    assert moved <= len(topics) * min(count, 12)


def test_one_topic_moves_no_more_than_it_must() -> None:
    topics = {"a": range(24)}
    four = spread(topics, members_of(4, topics))
    six = spread(topics, members_of(6, topics, four))
    assert all(set(six[name]) <= set(four[name]) for name in four)
    back = spread(topics, members_of(4, topics, six))
    assert all(set(six[name]) <= set(back[name]) for name in four)


def test_the_later_claim_counts() -> None:
    partition = Partition("a", 0)
    returned = {"old": Member("a", [partition], 3), "new": Member("a", [partition], 4)}
    assert spread({"a": range(1)}, returned) == {"old": [], "new": [partition]}


def test_a_topic_goes_to_those_who_read_it() -> None:
    assigned = spread({"a": range(4), "b": range(4)}, {"both": Member("ab"), "one": Member("a")})
    assert {partition.topic for partition in assigned["one"]} == {"a"}
    assert len(assigned["both"]) + len(assigned["one"]) == 8


class Cluster:
    """Three topics, as far as assignors ask."""

    def topics(self) -> set[str]:
        """Their names."""
        return {"a", "b", "c"}

    def partitions_for_topic(self, _: str) -> set[int]:
        """Of each the same."""
        return set(range(8))


def loaded(assignor: type[StickyPartitionAssignor], members: int) -> Counter[str]:
    """How many partitions of the first of three topics each member has, through the driver's own protocol."""
    counts: Counter[str] = Counter()
    states: list[Any] = [type("State", (assignor,), {}) for _ in range(members)]
    for joined in range(1, members + 1):
        said = {f"m{n}": state.metadata(["a", "b", "c"]) for n, state in enumerate(states[:joined])}
        found = assignor.assign(Cluster(), said)
        for number, state in enumerate(states[:joined]):
            state.on_assignment(found[f"m{number}"])
            state.on_generation_assignment(joined)
        counts = Counter({name: sum(t == "a" for t, _ in each.partitions()) for name, each in found.items()})
    return counts


def test_a_topic_that_has_all_the_load_is_spread_over_all_members() -> None:
    assert is_even(list(loaded(EvenTopicsAssignor, 6).values()))
    # Why it is our own: with the driver's, some have none of it.
    assert not is_even(list(loaded(StickyPartitionAssignor, 6).values()))
