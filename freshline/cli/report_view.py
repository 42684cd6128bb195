"""How the outcome of a verification is shown on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.markup import escape
from rich.table import Table

from freshline.verification.report import Report


def report_table(report: Report) -> Table:
    """One row for each kind of copy."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("copies", "compared", "wrong", "unsettled", "unknown", "not served"):
        table.add_column(column, overflow="fold", justify="left" if column in {"copies", "not served"} else "right")
    for kind, tally in report.kinds().items():
        unserved = ", ".join(f"{count} {why}" for why, count in sorted(tally.unserved.items()))
        table.add_row(
            kind,
            str(tally.compared),
            f"[bold red]{tally.wrong}[/]" if tally.wrong else "[green]0[/]",
            str(tally.unsettled),
            str(tally.unknown),
            unserved,
        )
    return table


def report_lines(report: Report) -> Iterator[str]:
    """The outcome in a sentence, and examples of what is wrong."""
    colour = "bold red" if report.wrong else "bold green"
    yield f"[{colour}]{report.compared} copies compared, {report.wrong} wrong[/] ({report.took_s:.1f} s)"
    for finding in report.examples:
        yield f"  {finding.place}  [bold]{escape(finding.key)}[/]  {finding.reason}"
    if report.wrong:
        yield "[dim]freshline explain KEY says since which event.[/]"
