"""How lag is shown on a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from freshline.cli.console import WIDTH_OF_A_FILE
from freshline.lag.report import GroupLag, PartitionLag
from freshline.lag.status import Status

_STYLES: Final[dict[Status, str]] = {
    "ok": "green", "lagging": "yellow", "stalled": "red", "stopped": "red", "unknown": "magenta"
}  # fmt: skip
_HINTS: Final[dict[Status, str]] = {
    "lagging": "records wait for longer than FRESHLINE_LAG__LAGGING_S: more workers, or a slow store?",
    "stalled": "it has members, but its place does not move while more comes: see their logs and their probes",
    "stopped": "nobody is in the group: start its workers (`freshline run` for ours)",
    "unknown": "a broker does not say: is it up, and may we ask it?",
}
_COLUMNS: Final = ("group", "status", "lag", "age", "arrives/s", "done/s", "drained in", "members", "needs")


def width_of(report: Sequence[GroupLag]) -> int:
    """Of a file or a pipe, where nothing may be folded."""
    return WIDTH_OF_A_FILE + max((len(group.group) for group in report), default=0)


def lag_table(report: Sequence[GroupLag], *, partitions: bool) -> RenderableType:
    """A line for each group, and for each of its partitions where that is wanted; below what is to be done."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in {"group", "status", "needs"} else "right", overflow="fold")
    for group in report:
        demand = "" if group.demand is None else f"{group.demand.replicas} ({group.demand.reason})"
        members = "" if group.members is None else str(group.members)
        table.add_row(group.group, *_cells(group), _seconds(group.drain_s), members, demand)
        for each in group.partitions if partitions else ():
            table.add_row(f"  {each.topic}/{each.partition}", *_cells(each), "", "", "")
    found = {group.status for group in report}
    hints = [Text(f"{status}: {hint}", style="dim") for status, hint in _HINTS.items() if status in found]
    return Group(table, *hints)


def _cells(lag: GroupLag | PartitionLag) -> list[str]:
    return [
        f"[{_STYLES[lag.status]}]{lag.status}[/]",
        "?" if lag.messages is None else f"{lag.messages:,}",
        _seconds(lag.seconds),
        _rate(lag.arrival_per_s),
        _rate(lag.service_per_s),
    ]


def _rate(value: float | None) -> str:
    return "?" if value is None else f"{value:,.1f}"


def _seconds(value: float | None) -> str:
    if value is None:
        return "?"
    if math.isinf(value):
        return "never"
    if value < 120:  # noqa: PLR2004 - two minutes
        return f"{value:.1f} s"
    return f"{value / 60:,.0f} min" if value < 7200 else f"{value / 3600:,.1f} h"  # noqa: PLR2004 - two hours
