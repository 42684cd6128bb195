"""How the index of documents is shown on a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from freshline.semantic.reindexing import RebuildProgress
from freshline.semantic.report import Fault, IndexReport
from freshline.semantic.status import GenerationStatus, IndexStatus
from infra.qdrant.passages import FoundPassage

_TEXT_CHARACTERS = 300
_STYLES = {"searched": "green", "building": "yellow", "paused": "yellow", "failed": "bold red"}


def found_lines(passages: Sequence[FoundPassage]) -> Iterator[str]:
    """Each passage with where it stands, the best first."""
    for each in passages:
        where = f"{each.document.table} {each.document.key}"
        yield f"[bold]{escape(where)}[/]  {escape(each.column)} {each.place}  [dim]{each.similarity:.3f}[/]"
        text = " ".join(each.text.split())
        yield textwrap.indent(escape(textwrap.shorten(text, _TEXT_CHARACTERS, placeholder=" …")), "  ")


def generations_table(status: IndexStatus) -> Table:
    """One row for each generation."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("generation", "state", "model", "dimension", "documents", "passages", "compared"):
        table.add_column(column, overflow="fold", justify="right" if column in {"documents", "passages"} else "left")
    for each in status.generations:
        style = _STYLES.get(each.state, "dim")
        table.add_row(
            escape(each.name),
            f"[{style}]{each.state}[/]" + ("" if each.retired_for_s is None else f" for {each.retired_for_s:.0f} s"),
            escape(each.model),
            str(each.dimension),
            str(each.documents),
            str(each.passages),
            _compared(each),
        )
    return table


def status_lines(status: IndexStatus) -> Iterator[str]:
    """What the table has no room for."""
    if not status.generations:
        yield "There is no index yet. `freshline run semantic-refresh` makes it."
    rebuild = status.rebuild
    if rebuild is None:
        return
    if rebuild.failure is not None:
        yield f"[bold red]The rebuild with {escape(rebuild.model)} failed:[/] {escape(rebuild.failure)}"
    elif rebuild.generation not in {each.name for each in status.generations}:
        yield f"A rebuild with {escape(rebuild.model)} was asked for, and waits for a worker."


def index_lines(report: IndexReport) -> Iterator[str]:
    """The outcome of a comparison, and examples of what is wrong."""
    colour = "bold green" if report.is_good else "bold red"
    yield (
        f"[{colour}]{report.documents} documents compared, {report.wrong_documents} wrong[/] "
        f"({report.passages} passages, {report.took_s:.1f} s)"
    )
    yield f"generation {escape(report.generation)}, model {escape(report.model)}"
    for fault in Fault:
        if fault in report.wrong:
            yield f"  [red]{report.wrong[fault]} {fault}[/]"
    if report.unsettled:
        yield f"  {report.unsettled} changed too often while they were looked at"
    if report.leftovers:
        yield f"  {report.leftovers} left behind, which no search finds"
    if not report.has_vectors:
        yield "[dim]  vectors were not compared: --vectors does[/]"
    for each in report.examples:
        place = "" if each.place is None else f" passage {each.place}"
        yield f"  [bold]{escape(f'{each.table} {each.key}')}[/]{place}  {each.fault}: {escape(each.detail)}"


@contextmanager
def rebuild_bar(console: Console) -> Iterator[Callable[[RebuildProgress], None]]:
    """Draw a bar for a rebuild; nothing stays of it afterwards."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("waiting for a worker", total=None)

        def show(progress: RebuildProgress) -> None:
            doing = "comparing documents" if progress.is_begun else "waiting for a worker"
            bars.update(
                bar,
                description="paused" if progress.is_paused else doing,
                completed=progress.compared,
                total=progress.total or None,
            )

        yield show


def _compared(generation: GenerationStatus) -> str:
    walks = generation.walks
    if not walks:
        return "not yet"
    if all(walk.is_done for walk in walks.values()):
        return "whole"
    return ", ".join(
        f"{escape(table)} {'whole' if walk.is_done else f'{walk.compared} of {walk.total}'}"
        for table, walk in walks.items()
    )
