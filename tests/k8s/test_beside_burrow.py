"""Our lag and Burrow's beside somebody who counts by reading, after what may happen to a log and to a group.

Nothing here builds Burrow, so this takes the one that is on the PATH.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec
import pytest

from freshline.lag.watch import LagWatch, Watched
from tests.conftest import ROOT, MakeSettings
from tests.integration.lag_ground import Hands, History, open_counter, open_hands
from tests.integration.worker_ground import eventually
from tests.k8s.burrow import open_burrow

REPORT: Final = ROOT / ".local" / "k8s" / "burrow.json"
PROGRAM: Final = shutil.which("burrow")


class Row(msgspec.Struct, frozen=True):
    """A partition: how many records were counted, and what either of the two says. None where it is not known."""

    history: str
    partition: int
    counted: int
    ours: int | None
    ours_status: str
    burrows: int | None
    burrows_status: str | None


async def _caught_up(history: History) -> None:
    await history.send(0, 5)
    await history.commit(0, 5)


async def _behind(history: History) -> None:
    await history.send(0, 5)
    await history.commit(0, 2)


async def _read_what_was_committed(history: History) -> None:
    await history.transact(0, 5, "commit")
    await history.commit(0, 5)


async def _read_all_and_the_rest_was_aborted(history: History) -> None:
    await history.send(0, 2)
    await history.transact(0, 3, "abort")
    await history.commit(0, 2)


async def _read_up_to_an_open_transaction(history: History) -> None:
    await history.send(0, 2)
    await history.transact(0, 3, "open")
    await history.commit(0, 2)


async def _overtaken_by_retention(history: History) -> None:
    await history.send(0, 10)
    await history.commit(0, 2)
    await history.retain(0, 6)


async def _overtaken_and_nothing_is_left(history: History) -> None:
    await history.send(0, 10)
    await history.commit(0, 2)
    await history.retain(0, 10)


async def _committed_in_one_of_two(history: History) -> None:
    await history.add_partition()
    await history.send(0, 3)
    await history.send(1, 4)
    await history.commit(0, 3)


async def _topic_made_anew(history: History) -> None:
    await history.send(0, 5)
    await history.commit(0, 5)
    await history.make_anew()
    await history.send(0, 3)


HISTORIES: Final[dict[str, Callable[[History], Awaitable[None]]]] = {
    "caught up": _caught_up,
    "behind": _behind,
    "all read of a committed transaction": _read_what_was_committed,
    "all read, the rest was aborted": _read_all_and_the_rest_was_aborted,
    "all read up to an open transaction": _read_up_to_an_open_transaction,
    "overtaken by retention": _overtaken_by_retention,
    "overtaken, and nothing is left": _overtaken_and_nothing_is_left,
    "committed in one of two partitions": _committed_in_one_of_two,
    "topic made anew": _topic_made_anew,
}


@pytest.fixture
async def hands(make_settings: MakeSettings) -> AsyncIterator[Hands]:
    async with open_hands(make_settings()) as opened:
        yield opened


@pytest.mark.skipif(PROGRAM is None, reason="there is no burrow on the PATH")
async def test_ours_is_what_is_counted_and_burrows_differs_where_offsets_are_no_records(
    hands: Hands, tmp_path: Path
) -> None:
    histories = {name: History(hands) for name in HISTORIES}
    try:
        for name, history in histories.items():
            await history.make(1)
            await HISTORIES[name](history)
        rows = await _beside(hands, histories, tmp_path)
    finally:
        for history in histories.values():
            await history.close()
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n")
    assert [each.ours for each in rows] == [each.counted for each in rows]
    plain = [each for each in rows if each.history in {"caught up", "behind"}]
    assert [each.burrows for each in plain] == [each.counted for each in plain]


async def _beside(hands: Hands, histories: dict[str, History], folder: Path) -> list[Row]:
    watched = Watched({each.group: [each.topic] for each in histories.values()})
    report = await LagWatch(hands.observer, watched).round()
    rows: list[Row] = []
    assert PROGRAM is not None
    with open_burrow(Path(PROGRAM), hands.arguments["bootstrap_servers"], folder / "burrow") as burrow:

        async def has_caught_up() -> bool:
            return burrow.has_caught_up and bool(burrow.lag(histories["behind"].group))

        await eventually(has_caught_up, "Burrow has read what was committed")
        async with open_counter(hands) as counter:
            for (name, history), group in zip(histories.items(), report, strict=True):
                said = burrow.lag(history.group)
                for partition, counted in zip(group.partitions, await counter.counted(history), strict=True):
                    theirs = said.get(partition.place)
                    rows.append(
                        Row(
                            name,
                            partition.partition,
                            counted.messages,
                            partition.messages,
                            partition.status,
                            theirs and theirs.messages,
                            theirs and theirs.status,
                        )
                    )
    return rows
