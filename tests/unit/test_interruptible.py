"""Work that a driver keeps from ending ends all the same when we are cancelled."""

from __future__ import annotations

import asyncio

import pytest

from freshline.background import interruptible
from tests.unit.hard_of_hearing import HardOfHearing


async def test_it_gives_what_the_work_gives_or_raises() -> None:
    async def gives() -> int:
        return 7

    async def raises() -> int:
        raise ValueError("no")

    assert await interruptible(gives()) == 7
    with pytest.raises(ValueError, match="no"):
        await interruptible(raises())


async def test_a_cancellation_that_is_lost_once_is_not_lost_for_good() -> None:
    work = HardOfHearing(loses=1)
    task = asyncio.ensure_future(interruptible(work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert work.lost == 1
