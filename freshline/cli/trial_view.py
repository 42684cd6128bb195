"""How a trial is shown: a picture that is drawn over and over on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table

from freshline.cli.stack_view import download_bars
from freshline.reference.load import Counts
from freshline.trial.library import LibraryFigures, LibraryOutcome
from freshline.trial.trial import Outcome
from freshline.trial.watch import TIERS, Figures
from infra.local.progress import Progress

_PLAIN_EVERY_S: Final = 5.0
_LARGE_BYTES: Final = 5_000_000


class PlainView:
    """One line for each step, and one every few seconds of the load."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._due = 0.0

    def tell(self, text: str) -> None:
        """What is being done now, and since when."""
        self._console.print(rf"\[{time.monotonic() - self._began:5.1f} s] {text}", highlight=False)

    def show(self, figures: Figures) -> None:
        """The figures, now and then."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _PLAIN_EVERY_S
            self._console.print("  ".join(f"{name} {text}" for name, text in _rows(figures)), highlight=False)

    @contextmanager
    def downloads(self) -> Iterator[Progress]:
        """One line for each large file."""

        @contextmanager
        def show(what: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
            if total_bytes >= _LARGE_BYTES:
                self.tell(f"downloading {what} ({total_bytes / 1e6:.0f} MB)")
            yield lambda _: None

        yield show

    def close(self) -> None:
        """Nothing is left on the terminal."""


class LiveView:
    """The figures in one place, drawn anew twice a second."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._live: Live | None = None

    def tell(self, text: str) -> None:
        """What is being done now, and since when."""
        self.close()
        self._console.print(rf"[dim]\[{time.monotonic() - self._began:5.1f} s] {text}[/]", highlight=False)

    def show(self, figures: Figures) -> None:
        """The figures of this moment."""
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="bold")
        table.add_column()
        for row in _rows(figures):
            table.add_row(*row)
        if self._live is None:
            self._live = Live(console=self._console, transient=True)
            self._live.start()
        self._live.update(table, refresh=True)

    def downloads(self) -> AbstractContextManager[Progress]:
        """Draws bars."""
        return download_bars(self._console)

    def close(self) -> None:
        """Take the picture away."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _rows(figures: Figures) -> Iterator[tuple[str, str]]:
    yield "elapsed", f"{figures.elapsed_s:.0f} s"
    yield "changes", f"{figures.rows:,} ({figures.rows_per_s:,.0f}/s)"
    yield "events", f"{figures.events_per_s:,.0f}/s"
    yield "freshness", f"p50 {_ms(figures.p50_s)} p99 {_ms(figures.p99_s)}"
    yield "reads", f"{figures.reads:,} ({figures.reads_per_s:,.0f}/s)"
    yield "answered by", _shares(figures.hits)
    lag = ", ".join(f"{group.rpartition('.')[2]} {records}" for group, records in figures.lag.items())
    yield "lag", lag or "workers are starting"
    needed = (f"{group.rpartition('.')[2]} {each.replicas} ({each.reason})" for group, each in figures.demand.items())
    yield "workers needed", ", ".join(needed) or "not known yet"
    if figures.documents:
        yield "documents", figures.documents
    if figures.library is not None:
        yield from _library(figures.library)
    errors = {"dead letters": figures.dead_letters, "store away": figures.away, "reads too old": figures.violations}
    yield "errors", ", ".join(f"{name} {count}" for name, count in errors.items() if count) or "none"


def summary(outcome: Outcome) -> Iterator[str]:
    """What came of a trial, but for the verification."""
    yield from counted(outcome.counts, outcome.hits)
    yield f"[bold]freshness[/] p50 {_ms(outcome.p50_s)}, p99 {_ms(outcome.p99_s)}, from commit to readable in Redis"
    if outcome.first_event_after_s is not None:
        yield f"[bold]first event applied[/] after {outcome.first_event_after_s:.1f} s"
    if outcome.library is not None:
        yield from library_summary(outcome.library)
    if outcome.left_out is not None:
        yield f"[bold yellow]documents were left out[/] {outcome.left_out}"


def library_summary(library: LibraryOutcome) -> Iterator[str]:
    """What came of the documents."""
    for name, text in _library(library.figures):
        yield f"[bold]{name}[/] {text}"
    refused = ", ".join(f"{reason} {count}" for reason, count in library.refused.items() if count)
    yield f"[bold]false friends refused[/] {refused or 'none'}"
    yield f"[bold]index[/] {library.passages:,} passages compared with the database, {library.wrong_passages} wrong"
    yield from (f"[bold red]wrong[/] {example}" for example in library.examples)
    yield f"[bold]asked once more[/] at the end, {library.untrue} answers not true"


def _library(figures: LibraryFigures) -> Iterator[tuple[str, str]]:
    p50, p99 = _ms(figures.searchable_p50_s), _ms(figures.searchable_p99_s)
    yield "documents", f"{figures.edits:,} edits, searchable after p50 {p50} p99 {p99}"
    answers = figures.answers
    counts = ", ".join(f"{how} {answers[how]:,}" for how in ("same", "similar", "produced") if how in answers)
    stale = f"{figures.longest_staleness_s:.1f} s"
    yield "answers", f"{counts or 'none yet'}; the oldest that was given: {stale} out of date; wrong {figures.wrong}"


def counted(counts: Counts, hits: Mapping[str, int]) -> Iterator[str]:
    """What a load did."""
    kinds = ", ".join(f"{name} {count:,}" for name, count in counts.transactions.most_common())
    yield f"[bold]changes[/] {counts.rows:,} rows in {counts.transactions.total():,} transactions ({kinds})"
    if counts.conflicts:
        yield f"[bold]conflicts[/] {counts.conflicts.total():,}, where two writers met"
    reads = ", ".join(f"{name} {count:,}" for name, count in counts.reads.most_common())
    yield f"[bold]reads[/] {counts.reads.total():,} ({reads})"
    yield f"[bold]answered by[/] {_shares(hits)}"
    if counts.away:
        yield f"[bold]a store was away[/] for {counts.away} changes or reads"
    for violation in counts.violations[:10]:
        yield f"[bold red]read too old[/] {violation.key}: {violation.what}"


def _shares(hits: Mapping[str, int]) -> str:
    total = sum(hits.values())
    return ", ".join(f"{tier} {hits[tier] / total:.0%}" for tier in TIERS) if total else "nothing yet"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f} ms"
