"""How the source is shown on a terminal: one line, and below it what is to be done."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.text import Text

from freshline.lag.source import SourceReport


def source_line(source: SourceReport, late_after_s: float) -> RenderableType:
    """The source in one line; nothing where nothing is known of it and nobody was asked.

    Args:
        source: as it was found.
        late_after_s: a heartbeat that is older is late.
    """
    if source == SourceReport():
        return Group()
    style = "green" if source.is_well(late_after_s) else "red"
    return Group(Text.assemble("source: ", (", ".join(_parts(source)), style)), *_hints(source, late_after_s))


def _parts(source: SourceReport) -> list[str]:
    age = "?" if source.freshness_s is None else f"{source.freshness_s:,.1f} s old"
    parts = [f"newest heartbeat {age}"]
    if source.connector is not None:
        parts.insert(0, f"connector {source.connector.worst}")
    if source.slot is not None:
        held = "?" if source.slot.held_wal_bytes is None else decimal(source.slot.held_wal_bytes)
        parts.append(f"slot holds {held} of log")
        if source.slot.active is False:
            parts.append("nobody reads it")
    return parts


def _hints(source: SourceReport, late_after_s: float) -> list[Text]:
    found = []
    if source.connector is not None and source.connector.has_failed:
        found.append(f"failed: {source.connector.reason}; mend that, then `freshline connector apply` restarts it")
    if source.freshness_s is not None and source.freshness_s > late_after_s:
        found.append(
            f"a heartbeat is late after {late_after_s:g} s: changes don't come, and no group is behind for it; see "
            "`freshline connector status`"
        )
    return [Text(hint, style="dim") for hint in found]
