"""Background tasks: they end when they are told to, and their failures end nobody else."""

from __future__ import annotations

import asyncio

import pytest

from freshline.background import Background
from schemas.errors import NotOpenError
from tests.unit.hard_of_hearing import HardOfHearing


async def test_closing_ends_every_task_even_one_that_loses_a_cancellation() -> None:
    background = Background()
    background.open()
    work = HardOfHearing(loses=3)
    background.start(work())
    background.start(asyncio.sleep(60))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await background.close()
    assert work.lost == 3
    assert not background.is_open


async def test_a_failure_is_logged_and_ends_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    background = Background()
    background.open()
    ended = asyncio.Event()

    async def fail() -> None:
        raise ZeroDivisionError("on purpose")

    async def work() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        ended.set()

    background.start(fail())
    background.start(work())
    await ended.wait()
    await background.close()
    said = capsys.readouterr()
    assert "on purpose" in said.out + said.err


async def test_nothing_starts_while_it_is_closed() -> None:
    with pytest.raises(NotOpenError):
        Background().start(asyncio.sleep(0))
