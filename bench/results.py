"""Figures: collected, shown as a table, and written as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Column, Table

LATEST = Path(__file__).parent / "results" / "latest.json"


class Figure(msgspec.Struct, frozen=True):
    """One measured value. ``against`` names another figure of the run; ``ratio`` is this one over it."""

    name: str
    value: float
    unit: str
    against: str | None = None
    ratio: float | None = None


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def compared(name: str, value: float, unit: str, against: Figure) -> Figure:
    """A figure beside its comparator."""
    return Figure(name, value, unit, against.name, value / against.value if against.value else None)


def show(figures: Sequence[Figure], console: Console) -> None:
    """Print them."""
    table = Table(Column("figure", no_wrap=True), "value", "unit", "ratio", "against")
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        table.add_row(figure.name, f"{figure.value:,.2f}", figure.unit, ratio, figure.against or "")
    console.print(table)


def write(figures: Sequence[Figure], path: Path = LATEST) -> None:
    """Write them, beside those of earlier runs of other areas."""
    kept = {figure.name: figure for figure in read(path)}
    kept |= {figure.name: figure for figure in figures}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(list(kept.values())), indent=1) + b"\n")


def read(path: Path = LATEST) -> list[Figure]:
    """The figures of the last run; none where there was no run."""
    return msgspec.json.decode(path.read_bytes(), type=list[Figure]) if path.exists() else []
