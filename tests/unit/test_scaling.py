"""Scaling a group: what is not known holds the number, and so does what more replicas can't help."""

from __future__ import annotations

from itertools import pairwise

import pytest

from freshline.lag.capacity import Capacity
from freshline.lag.demand import Demand
from freshline.lag.report import GroupLag, PartitionLag
from freshline.lag.saturation import Saturation
from freshline.lag.scaling import Scaling
from infra.settings import DemandSettings
from schemas.work_done import WorkDone

PARTITIONS = 24
EVERY_S = 5.0
RATE = 100.0


class World:
    """Records that arrive, and workers that do them: as many as there are, as fast as the store lets them.

    Every 15 seconds the replicas become as many as is asked for, and at most twice as many, as by an eager HPA.
    """

    def __init__(self, members: int = 1, *, ceiling: int = 24) -> None:
        self.members = members
        self.scaling = Scaling(DemandSettings(ceiling=ceiling))
        self.now_s = 0.0
        self.lag = 0.0
        # Of each worker that there may be.
        self.work = [WorkDone(f"w{number}", 0, 0.0) for number in range(ceiling)]
        self.store_rate = float("inf")
        self.is_known = True
        self.answers: list[Demand] = []

    def run(self, seconds: float, arrival_per_s: float, *, follow: bool = True) -> Demand:
        """Let some time pass; the replicas are what was asked for, where they follow."""
        for _ in range(round(seconds / EVERY_S)):
            able = min(self.members * RATE, self.store_rate) * EVERY_S
            did = min(able, self.lag + arrival_per_s * EVERY_S)
            self.lag += arrival_per_s * EVERY_S - did
            if did:
                # Who waits for a store that can do no more is busy, too.
                self._work(did / self.members, EVERY_S * (did / able), is_full=did == able)
            self.now_s += EVERY_S
            answer = self._look(arrival_per_s)
            self.answers.append(answer)
            if follow and self.now_s % 15 == 0:
                self.members = max(1, min(answer.replicas, 2 * self.members))
        return self.answers[-1]

    def _look(self, arrival_per_s: float) -> Demand:
        lag = round(self.lag / PARTITIONS)
        partitions = [
            PartitionLag("t", number, "ok", lag, 0.0, arrival_per_s / PARTITIONS, 0.0)
            if self.is_known or number
            else PartitionLag("t", number, "unknown")
            for number in range(PARTITIONS)
        ]
        found = self.scaling.see(self.now_s, GroupLag("g", partitions, members=self.members), self.work)
        assert found.demand is not None
        return found.demand

    def _work(self, records: float, busy_s: float, *, is_full: bool) -> None:
        """What each of them does."""
        for number in range(self.members):
            former = self.work[number]
            self.work[number] = WorkDone(
                former.worker,
                former.records + round(records),
                former.busy_s + busy_s,
                former.full_records + is_full * round(records),
                former.full_busy_s + is_full * busy_s,
            )

    @property
    def reversals(self) -> int:
        """How often the number fell after it rose, or rose after it fell."""
        return sum(a * b < 0 for a, b in pairwise(self._moves()))

    def _moves(self) -> list[int]:
        numbers = [answer.replicas for answer in self.answers]
        return [b - a for a, b in pairwise(numbers) if a != b]


def test_replicas_follow_the_load_up_and_down_without_a_flap() -> None:
    world = World()
    assert world.run(120, 60).replicas == 1
    assert world.run(120, 600).replicas in {7, 8}
    assert world.lag < 600 * EVERY_S
    assert world.run(180, 60).replicas == 1
    assert world.reversals == 1


def test_while_something_is_unknown_nothing_changes() -> None:
    world = World()
    world.run(120, 600)
    before = world.answers[-1].replicas
    world.is_known = False
    assert world.run(60, 6_000, follow=False) == Demand(before, "unknown")
    assert world.run(60, 0, follow=False) == Demand(before, "unknown")


def test_a_store_that_is_away_holds_the_replicas() -> None:
    world = World()
    world.run(120, 250)
    before = world.answers[-1].replicas
    world.store_rate = 0.0
    world.run(120, 250)
    assert {answer.replicas for answer in world.answers[-24:]} == {before}
    assert world.answers[-1].reason == "store_away"
    world.store_rate = float("inf")
    assert world.run(60, 250).replicas > before
    world.run(240, 250)
    assert world.lag < 250 * EVERY_S


def test_a_store_that_can_do_no_more_ends_the_rise() -> None:
    world = World()
    world.store_rate = 450.0
    world.run(900, 1_000)
    assert world.answers[-1].reason == "saturated"
    assert world.answers[-1].replicas <= 8
    # Up to where it is seen, down, and ten minutes later one more is tried for once.
    assert world.reversals <= 3


def test_without_a_rate_the_replicas_stay() -> None:
    world = World(members=3)
    world.store_rate = 0.0
    assert world.run(30, 100, follow=False) == Demand(3, "no_rate")


def test_who_takes_all_there_is_each_time_needs_no_help() -> None:
    """Behind a distant store a batch takes long however small it is, and a replica is busy with little to do."""
    scaling = Scaling(DemandSettings(ceiling=24))
    partitions = [PartitionLag("t", number, "ok", 10, 0.5, 5.0, 5.0) for number in range(8)]
    answers = [
        scaling.see(at_s, GroupLag("g", partitions, members=1), [WorkDone("w", 40 * at_s, float(at_s))]).demand
        for at_s in range(1, 60)
    ]
    assert {answer.replicas for answer in answers if answer is not None} == {1}
    assert answers[-1] == Demand(1, "no_rate")


def test_slow_batches_pass_neither_for_a_store_that_is_away_nor_for_one_that_can_do_no_more() -> None:
    """Nothing is heard of a batch until it is done, here after eight seconds, and then of all of it."""
    batch, batch_s, arrival_per_s = 500, 8, 130.0
    scaling = Scaling(DemandSettings(ceiling=8))
    work = [WorkDone(f"w{number}", 500, 8.0, 500, 8.0) for number in range(8)]
    began_s = [0.0] * 8
    members, lag = 1, 2_000.0
    reasons = set[str]()
    for now_s in range(1, 400):
        lag += arrival_per_s
        for number in range(members):
            if now_s - began_s[number] >= batch_s:
                did, began_s[number] = min(batch, int(lag)), now_s
                lag -= did
                was, spent_s, full = work[number], batch_s * did / batch, did == batch
                work[number] = WorkDone(
                    was.worker,
                    was.records + did,
                    was.busy_s + spent_s,
                    was.full_records + full * did,
                    was.full_busy_s + full * spent_s,
                )
        waiting = [PartitionLag("t", n, "ok", round(lag / 8), 1.0, arrival_per_s / 8, 0.0) for n in range(8)]
        found = scaling.see(now_s, GroupLag("g", waiting, members=members), work).demand
        assert found is not None
        # The first batch is not known to be slow until it is done.
        reasons |= {found.reason} if now_s > batch_s else set()
        if now_s % 15 == 0:
            for number in range(members, found.replicas):
                began_s[number] = now_s
            members = max(1, min(found.replicas, 2 * members))
    assert not reasons & {"store_away", "saturated"}
    assert members in {3, 4}
    assert lag < 10 * arrival_per_s


def test_who_begins_to_watch_begins_with_what_runs() -> None:
    world = World(members=4)
    world.run(300, 330, follow=False)
    assert world.answers[-1].replicas == 4
    again = Scaling(DemandSettings(ceiling=24))
    world.scaling = again
    assert world.run(EVERY_S, 330, follow=False).replicas == 4


def test_who_was_only_held_is_let_go_after_ten_minutes() -> None:
    world = World(members=24)
    # Two partitions are 88 % of what a replica can do: 12 would do, and 24 are within the band.
    world.run(500, 0.44 * RATE * PARTITIONS, follow=False)
    assert world.answers[-1] == Demand(24, "held")
    assert world.run(200, 0.44 * RATE * PARTITIONS, follow=False).replicas == 12


def test_an_idle_group_goes_to_its_floor() -> None:
    scaling = Scaling(DemandSettings(floor=0))
    partitions = [PartitionLag("t", number, "ok", 0, 0.0, 0.0, 0.0) for number in range(4)]
    assert scaling.see(0, GroupLag("g", partitions, members=0), []).demand == Demand(0, "idle")
    waiting = [PartitionLag("t", number, "stopped", 5, 9.0, 0.0, 0.0) for number in range(4)]
    found = scaling.see(5, GroupLag("g", waiting, members=0), []).demand
    assert found is not None
    assert found.replicas >= 1


def test_a_group_goes_to_nothing_when_nothing_comes_and_returns_with_the_first_record() -> None:
    scaling = Scaling(DemandSettings(floor=0))

    def needed(now_s: float, *, lag: int, arrival_per_s: float, members: int, done: int, busy_s: float) -> int:
        waiting = [lag // 8 + (number < lag % 8) for number in range(8)]
        partitions = [PartitionLag("t", n, "ok", each, 0.0, arrival_per_s / 8, 0.0) for n, each in enumerate(waiting)]
        found = scaling.see(
            now_s, GroupLag("g", partitions, members=members), [WorkDone("w", done, busy_s, done, busy_s)]
        )
        assert found.demand is not None
        return found.demand.replicas

    assert needed(0, lag=0, arrival_per_s=10, members=1, done=1_000, busy_s=10) == 1
    assert needed(5, lag=0, arrival_per_s=10, members=1, done=1_500, busy_s=15) == 1
    # Nothing arrives any more, and whoever is left has nothing to do.
    assert needed(70, lag=0, arrival_per_s=0, members=1, done=1_500, busy_s=15) == 0
    assert needed(400, lag=0, arrival_per_s=0, members=0, done=1_500, busy_s=15) == 0
    # One record waits, and nobody is there. Old rates stay known, since they lie with the commits.
    assert needed(405, lag=1, arrival_per_s=0, members=0, done=1_500, busy_s=15) == 1
    # A backlog is not counted down to one for want of members.
    assert needed(410, lag=60_000, arrival_per_s=100, members=0, done=1_500, busy_s=15) > 1


def test_what_is_unknown_wakes_nobody_and_sends_nobody_away() -> None:
    scaling = Scaling(DemandSettings(floor=0))
    quiet = [PartitionLag("t", number, "ok", 0, 0.0, 0.0, 0.0) for number in range(4)]
    unknown = [PartitionLag("t", number, "unknown") for number in range(4)]
    assert scaling.see(0, GroupLag("g", quiet, members=0), []).demand == Demand(0, "idle")
    assert scaling.see(5, GroupLag("g", unknown, members=0), []).demand == Demand(0, "unknown")


@pytest.mark.parametrize("gain", [0.0, 0.2])
def test_a_cap_is_lifted_by_one_and_doubled_where_that_is_no_better(gain: float) -> None:
    saturation = Saturation()
    now_s = 0.0

    def steady(members: int, done_per_s: float, seconds: float) -> None:
        nonlocal now_s
        for _ in range(round(seconds / EVERY_S)):
            now_s += EVERY_S
            saturation.see(now_s, members, done_per_s, 0.95 * members, 15)

    steady(4, 400, 60)
    assert saturation.cap(now_s) is None
    steady(8, 400 * (1 + gain), 30)
    capped = saturation.cap(now_s)
    assert capped is not None
    assert 4 <= capped <= 5
    steady(capped, 400, 570)
    assert saturation.cap(now_s) == capped
    steady(capped, 400, 60)
    assert saturation.cap(now_s) == capped + 1
    steady(capped + 1, 400, 30)
    assert saturation.cap(now_s) == capped
    steady(capped, 400, 1_000)
    assert saturation.cap(now_s) == capped


def test_a_cap_ends_where_one_more_does_more() -> None:
    saturation = Saturation()
    now_s = 0.0
    for members, done_per_s, seconds in ((4, 400, 60), (8, 400, 30), (4, 400, 660), (5, 500, 60)):
        for _ in range(round(seconds / EVERY_S)):
            now_s += EVERY_S
            saturation.see(now_s, members, done_per_s, 0.95 * members, 15)
    assert saturation.cap(now_s) is None


def test_small_batches_do_not_make_a_replica_slow() -> None:
    """Where each batch waits for a distant store, a replica that has little to do is busy all the time."""
    capacity = Capacity()
    capacity.see(0, [])
    capacity.see(10, [WorkDone("w", 500, 10.0)])
    assert capacity.rate_per_s == pytest.approx(50)
    capacity.see(20, [WorkDone("w", 500 + 10_000, 20.0, 10_000, 10.0)])
    assert capacity.rate_per_s == pytest.approx(1_000)
    for number in range(3, 100):
        done = 10_500 + 500 * (number - 2)
        capacity.see(10.0 * number, [WorkDone("w", done, 10.0 * number, 10_000, 10.0)])
    assert capacity.rate_per_s == pytest.approx(1_000)
    assert capacity.busy == 0
    assert capacity.done_per_s == pytest.approx(50)


def test_a_worker_that_comes_back_is_counted_from_where_it_was() -> None:
    capacity = Capacity()
    capacity.see(0, [WorkDone("a", 1_000_000, 100.0), WorkDone("b", 10, 1.0)])
    capacity.see(10, [WorkDone("b", 110, 2.0)])
    capacity.see(20, [WorkDone("a", 1_000_100, 101.0), WorkDone("b", 210, 3.0)])
    assert capacity.done_per_s == pytest.approx(15)


def test_a_cap_ends_where_the_load_came_back_too_slowly_to_compare() -> None:
    """Hours after a store was slow, more are needed one by one, and none of them is busy until the last."""
    saturation = Saturation()
    now_s = 0.0

    def steady(members: int, done_per_s: float, busy: float, seconds: float) -> None:
        nonlocal now_s
        for _ in range(round(seconds / EVERY_S)):
            now_s += EVERY_S
            saturation.see(now_s, members, done_per_s, busy * members, 15)

    steady(4, 400, 0.95, 60)
    steady(8, 400, 0.95, 30)
    assert saturation.cap(now_s) == 4
    for members in (3, 4, 5):
        steady(members, 80 * members, 0.6, 3_600)
    assert saturation.cap(now_s) == 5
    steady(5, 500, 0.95, 60)
    assert saturation.cap(now_s) is None


def test_what_was_not_heard_for_a_while_is_no_batch_and_no_burst() -> None:
    scaling = Scaling(DemandSettings(ceiling=8))

    def look(now_s: float, done: int | None, *, lag: int = 0) -> Demand | None:
        partitions = [PartitionLag("t", n, "ok", lag, 0.0, 20.0, 0.0) for n in range(8)]
        if done is None:
            unknown = [PartitionLag("t", n, "unknown") for n in range(8)]
            return scaling.see(now_s, GroupLag("g", unknown, is_known=False), None).demand
        work = [WorkDone("w", done, done / 250, done, done / 250)]
        return scaling.see(now_s, GroupLag("g", partitions, members=1), work).demand

    for now_s in range(0, 60, 5):
        look(now_s, 160 * now_s)
    for now_s in range(60, 1_860, 5):
        assert look(now_s, None) == Demand(1, "unknown")
    assert look(1_860, 160 * 1_860) == Demand(1, "load")
    # A burst, and a worker that does all it can.
    answers = [look(1_860 + s, 160 * 1_860 + 250 * s, lag=2_000) for s in range(5, 30, 5)]
    assert all(answer is not None and answer.reason == "load" and answer.replicas > 1 for answer in answers)


def test_totals_that_only_older_commits_say_are_no_work() -> None:
    """Others took over the partitions of its newest commits; what is left of it is from an hour ago."""
    capacity = Capacity()
    for at_s in range(0, 60, 5):
        capacity.see(at_s, [WorkDone("w", 1_000_000 + 100 * at_s, 4_000.0 + at_s)])
    capacity.see(60, [WorkDone("w", 10, 1.0)])
    assert capacity.done_lately_per_s is not None
    assert capacity.done_lately_per_s >= 0
    capacity.see(65, [WorkDone("w", 1_006_500, 4_065.0)])
    assert capacity.done_per_s == pytest.approx(100)
    # As if there had been one batch of ten seconds, not of an hour.
    assert capacity.window_s == 40


def test_a_worker_that_was_there_before_it_was_heard_of_did_not_do_all_of_it_now() -> None:
    capacity = Capacity()
    capacity.see(0, [WorkDone("a", 100, 1.0)])
    capacity.see(5, [WorkDone("a", 600, 6.0), WorkDone("b", 5_000_000, 36_000.0)])
    assert capacity.done_per_s == pytest.approx(100)


def test_of_a_group_of_which_nothing_was_ever_known_no_number_is_told() -> None:
    scaling = Scaling(DemandSettings(floor=2))
    group = GroupLag("g", [], is_known=False)
    assert group.status == "unknown"
    assert group.messages is None
    assert group.seconds is None
    assert scaling.see(0, group, None).demand is None
    partitions = [PartitionLag("t", number, "ok", 0, 0.0, 1.0, 0.0) for number in range(8)]
    seen = scaling.see(5, GroupLag("g", partitions, members=8), [WorkDone("w", 1_000, 10.0, 1_000, 10.0)])
    assert seen.demand is not None
    assert scaling.see(10, group, None).demand == Demand(seen.demand.replicas, "unknown")
