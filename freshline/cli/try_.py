"""``freshline try``: the whole way on this machine, watched and verified. ``make run`` calls it."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Annotated, Final

import psutil
import typer
from rich.console import Console

from freshline.cli.report_view import report_lines, report_table
from freshline.cli.trial_view import LiveView, PlainView, summary
from freshline.reference.changes import WEIGHTS
from freshline.reference.load import Plan
from freshline.trial.trial import Outcome, Trial

RATE_PER_S: Final = 100.0
READS_PER_S: Final = 300.0
_TRUNCATES: Final = 0.025
# Where documents are indexed, too, two cores embed no more of them.
_FEWER_DOCUMENTS: Final = {"insert_document": 1.0, "rename_document": 2.0, "rewrite_document": 1.0}
_SMALL_DOCUMENT_BYTES: Final = 700


def try_(
    *,
    duration: Annotated[float, typer.Option(help="How long the load runs, in seconds; 0: until Ctrl-C.")] = 60.0,
    rate: Annotated[float, typer.Option(help="Rows changed a second; 0: as many as possible.")] = RATE_PER_S,
    reads: Annotated[float, typer.Option(help="Reads a second; 0: as many as possible.")] = READS_PER_S,
    seed: Annotated[int, typer.Option(help="Of the random numbers.")] = 1,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Also TRUNCATE messages (and documents, with --no-documents).")
    ] = False,
    documents: Annotated[
        bool, typer.Option(help="Also edit documents and ask about them; installs 3 GB for it, once.")
    ] = True,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack running at the end.")] = False,
) -> None:
    """Start everything, drive the reference application, compare every copy with the database, stop.

    A stack that runs already is used and left running. Exits with 1 where one copy is wrong or one read was older than
    the write whose token it presented. Ctrl-C ends the load, and the comparison still follows; a second one gives up.
    """
    # The interpreter's own start counts, too.
    began_at = time.monotonic() - (time.time() - psutil.Process().create_time())
    plan = Plan(
        seed=seed,
        changes_per_s=rate or None,
        reads_per_s=reads or None,
        duration_s=duration or None,
        weights=_weights(documents=documents, truncate=truncate),
        largest_document_bytes=_SMALL_DOCUMENT_BYTES if documents else Plan().largest_document_bytes,
    )
    console = Console(soft_wrap=True)
    view = LiveView(console) if console.is_terminal else PlainView(console)
    try:
        outcome = asyncio.run(_run(Trial(plan, view, documents=documents, keep=keep, began_at=began_at)))
    finally:
        view.close()
    for line in summary(outcome):
        console.print(line, highlight=False)
    console.print(report_table(outcome.report))
    for line in report_lines(outcome.report):
        console.print(line, highlight=False)
    if not outcome.is_good:
        raise typer.Exit(1)


def _weights(*, documents: bool, truncate: bool) -> dict[str, float]:
    """How often each kind of change is chosen."""
    weights = {**WEIGHTS, **(_FEWER_DOCUMENTS if documents else {})}
    if truncate:
        weights["truncate_messages"] = _TRUNCATES
        # Where documents are asked about, they are to be there.
        weights["truncate_documents"] = 0.0 if documents else _TRUNCATES
    return weights


async def _run(trial: Trial) -> Outcome:
    running = asyncio.ensure_future(trial.run())
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.add_signal_handler(signal.SIGINT, running.cancel)
        trial.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        return await running
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
