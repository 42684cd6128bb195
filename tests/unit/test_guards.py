"""The breaker and the limit."""

from __future__ import annotations

import asyncio

import pytest

from freshline.guards import Breaker, DatabaseLimit, PastStoreError
from schemas.errors import OverloadedError, StoreUnavailableError


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


class Calls:
    """Calls of a Redis that is there or not."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.changes: list[bool] = []
        self.breaker = Breaker(pause_s=1, clock=self.clock, on_change=self.changes.append)
        self.made = 0

    def make(self, *, fails: bool = False, always: bool = False) -> None:
        """Make one."""
        with self.breaker.guard(always=always):
            self.made += 1
            if fails:
                raise StoreUnavailableError("on purpose")

    def fail(self) -> None:
        """One that fails or is not made."""
        with pytest.raises(PastStoreError):
            self.make(fails=True)


def test_after_a_failure_one_call_a_second_is_made() -> None:
    calls = Calls()
    for _ in range(100):
        calls.fail()
        calls.clock.now += 0.1
    assert 9 <= calls.made <= 11


def test_a_call_that_succeeds_lets_all_others_through_again() -> None:
    calls = Calls()
    calls.fail()
    calls.clock.now += 1
    calls.make()
    calls.make()
    assert not calls.breaker.is_away
    assert calls.changes == [True, False]


def test_what_must_be_tried_is_tried() -> None:
    calls = Calls()
    calls.fail()
    calls.make(always=True)
    assert not calls.breaker.is_away


def test_errors_that_say_nothing_of_redis_pass() -> None:
    calls = Calls()
    with pytest.raises(ZeroDivisionError), calls.breaker.guard():
        raise ZeroDivisionError
    assert not calls.breaker.is_away


async def test_turns_are_given_up_to_the_limit() -> None:
    limit = DatabaseLimit(2, wait_s=0.05)
    async with limit.turn(), limit.turn():
        with pytest.raises(OverloadedError, match=r"waited 0.05 s .* FRESHLINE_READER__DATABASE_LIMIT"):
            async with limit.turn():
                pass
    async with asyncio.timeout(5), limit.turn(), limit.turn():
        pass
