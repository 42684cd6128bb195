"""L1: a kept copy is never older than the last notice, whatever came in between."""
# ruff: noqa: D102 - the name of a rule says what it does

from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from freshline.l1 import L1, Copy, Position

NAMES = {
    "user:1": ("user:1", "user:*"),
    "user:1:list": ("user:1", "conversation:1", "user:*"),
    "conversation:1": ("conversation:1",),
}
KEYS = tuple(NAMES)
ALL_NAMES = sorted({name for names in NAMES.values() for name in names})


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Read:
    """A read under way: noted its position, and perhaps what the server said."""

    key: str
    position: Position | None
    copy: Copy | None = None


@dataclass
class Server:
    """Redis and Postgres in one: versions of names, and notices on their way."""

    epoch: str = "e0"
    clock: int = 0
    changed_at: dict[str, int] = field(default_factory=dict)
    on_the_way: deque[tuple[str, tuple[str, ...], int]] = field(default_factory=deque)

    def change(self, names: tuple[str, ...]) -> None:
        self.clock += 1
        self.changed_at.update(dict.fromkeys(names, self.clock))
        self.on_the_way.append((self.epoch, names, self.clock))


class Interleavings(RuleBasedStateMachine):
    """Reads, changes, deliveries, losses, new epochs and pauses in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.time = Clock()
        self.l1 = L1(items=2, remembered_names=2, clock=self.time)
        self.server = Server()
        self.reads: list[Read] = []
        self.is_subscribed = False
        # For each name, the server's time that everything served must have been read after.
        self.known: dict[str, int] = {}

    @initialize()
    def begin(self) -> None:
        self.subscribe()
        self.server.change(())
        self.deliver()

    @rule(how=st.sampled_from(["lose", "resubscribe", "new epoch", "pause", "long pause"]))
    def disturb(self, how: str) -> None:
        if how == "lose":
            self.l1.lost("connection")
            self.is_subscribed = False
            self.server.on_the_way.clear()
        elif how == "resubscribe":
            self.subscribe()
        elif how == "new epoch":
            self.server.epoch = f"e{self.server.clock + 1}"
            self.server.change(())
            self.server.changed_at.update(dict.fromkeys(ALL_NAMES, self.server.clock))
        else:
            self.time.now += 2 if how == "pause" else 61

    def subscribe(self) -> None:
        self.l1.subscribed()
        self.is_subscribed = True
        self.server.on_the_way.clear()
        self.server.change(())
        self.known = dict(self.server.changed_at)

    @rule(names=st.lists(st.sampled_from(ALL_NAMES), min_size=1, max_size=3, unique=True))
    def change(self, names: list[str]) -> None:
        self.server.change(tuple(names))

    @precondition(lambda self: self.is_subscribed and self.server.on_the_way)
    @rule()
    def deliver(self) -> None:
        epoch, names, at = self.server.on_the_way.popleft()
        is_new_epoch = self.l1.is_serving and epoch != self.l1._epoch
        self.l1.heard(epoch, names)
        self.known.update(dict.fromkeys(ALL_NAMES if is_new_epoch else names, at))

    @rule(key=st.sampled_from(KEYS), is_slow=st.booleans())
    def begin_read(self, key: str, *, is_slow: bool) -> None:
        read = Read(key, self.l1.position())
        if not is_slow:
            read.copy = Copy(b"", 0, self.server.clock)
        self.reads.append(read)

    @precondition(lambda self: self.reads)
    @rule(choice=st.integers(0, 20))
    def keep(self, choice: int) -> None:
        read = self.reads.pop(choice % len(self.reads))
        copy = read.copy or Copy(b"", 0, self.server.clock)
        self.l1.keep(read.key, NAMES[read.key], copy, since=read.position)

    @rule(names=st.lists(st.sampled_from(ALL_NAMES), min_size=1, max_size=2, unique=True))
    def change_by_this_process(self, names: list[str]) -> None:
        self.server.change(tuple(names))
        self.l1.drop(names)
        self.known.update(dict.fromkeys(names, self.server.clock))

    @invariant()
    def nothing_served_is_older_than_what_was_told(self) -> None:
        for key in KEYS:
            copy = self.l1.get(key)
            if copy is not None:
                assert self.is_subscribed
                assert all(copy.completed >= self.known.get(name, 0) for name in NAMES[key])

    @invariant()
    def it_holds_no_more_than_its_limit(self) -> None:
        assert len(self.l1) <= 2


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def l1(clock: Clock) -> L1:
    made = L1(items=2, ttl_s=60, silence_s=3, remembered_names=4, clock=clock)
    made.subscribed()
    made.heard("e")
    return made


def copy(completed: int = 1, lsn: int = 0) -> Copy:
    return Copy(b"{}", lsn, completed)


def keep(l1: L1, key: str, kept: Copy | None = None, *, ttl_s: float | None = None) -> bool:
    return l1.keep(key, (key, "user:*"), kept or copy(), since=l1.position(), ttl_s=ttl_s)


def test_a_copy_is_kept_and_served(l1: L1) -> None:
    assert keep(l1, "user:1")
    assert l1.get("user:1") == copy()


def test_nothing_is_kept_before_the_first_notice() -> None:
    l1 = L1()
    assert not keep(l1, "user:1")
    l1.subscribed()
    assert not keep(l1, "user:1")
    l1.heard("e")
    assert keep(l1, "user:1")


def test_the_least_recently_used_goes_first(l1: L1) -> None:
    keep(l1, "user:1")
    keep(l1, "user:2")
    l1.get("user:1")
    keep(l1, "user:3")
    assert [l1.get(f"user:{n}") is not None for n in (1, 2, 3)] == [True, False, True]


def test_an_item_expires(l1: L1, clock: Clock) -> None:
    keep(l1, "user:1")
    keep(l1, "user:2", ttl_s=5)
    for _ in range(59):
        clock.now += 1
        l1.heard("e")
    assert l1.get("user:1") is not None
    assert l1.get("user:2") is None
    clock.now += 1
    assert l1.get("user:1") is None


def test_a_notice_drops_by_any_name(l1: L1) -> None:
    keep(l1, "user:1")
    l1.heard("e", ["user:1"])
    assert l1.get("user:1") is None
    keep(l1, "user:1")
    l1.heard("e", ["user:*"])
    assert l1.get("user:1") is None


def test_a_read_that_a_notice_overtook_is_not_kept(l1: L1) -> None:
    since = l1.position()
    l1.heard("e", ["user:1"])
    assert not l1.keep("user:1", ("user:1",), copy(), since=since)
    assert l1.keep("user:2", ("user:2",), copy(), since=since)


def test_more_notices_than_are_remembered_keep_nothing(l1: L1) -> None:
    since = l1.position()
    l1.heard("e", [f"conversation:{n}" for n in range(5)])
    assert not l1.keep("user:1", ("user:1",), copy(), since=since)


@pytest.mark.parametrize("end", ["lost", "epoch", "silence"])
def test_a_read_does_not_outlive_its_subscription(l1: L1, clock: Clock, end: str) -> None:
    keep(l1, "user:1")
    since = l1.position()
    if end == "lost":
        l1.lost("connection")
        l1.subscribed()
    elif end == "silence":
        clock.now += 3
        assert l1.get("user:1") is None
        assert not l1.is_serving
    l1.heard("e2" if end == "epoch" else "e")
    assert l1.is_serving
    assert l1.get("user:1") is None
    assert not l1.keep("user:1", ("user:1",), copy(), since=since)


def test_what_is_known_to_be_newer_stays(l1: L1) -> None:
    keep(l1, "user:1", copy(completed=5))
    assert not keep(l1, "user:1", copy(completed=4))
    assert l1.get("user:1") == copy(completed=5)


def test_of_two_copies_without_an_order_none_stays(l1: L1) -> None:
    keep(l1, "user:1", copy(lsn=9, completed=0))
    assert not keep(l1, "user:1", copy(lsn=0, completed=5))
    assert l1.get("user:1") is None


def test_what_was_returned_but_not_kept_leaves_nothing_older_behind(l1: L1) -> None:
    since = l1.position()
    keep(l1, "user:1", copy(completed=4))
    l1.heard("e", ["user:2"])
    assert not l1.keep("user:1", ("user:1", "user:2"), copy(completed=5), since=since)
    assert l1.get("user:1") is None


def test_without_an_epoch_nothing_is_served(l1: L1) -> None:
    keep(l1, "user:1")
    l1.heard("")
    assert not l1.is_serving
    assert not keep(l1, "user:1")
    l1.heard("e2")
    assert l1.get("user:1") is None
    assert keep(l1, "user:1")


def test_why_it_was_emptied_is_told() -> None:
    reasons: list[str] = []
    l1 = L1(on_clear=reasons.append)
    l1.subscribed()
    l1.heard("e1")
    l1.heard("e2")
    l1.lost("connection")
    l1.lost("connection")
    assert reasons == ["epoch", "connection"]
