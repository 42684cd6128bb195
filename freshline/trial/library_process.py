"""The library of a trial, as a process of its own: ``python -m freshline.trial.library_process``.

It embeds questions, which would hold up whoever measures beside it. One line of JSON now and then says how it goes;
told to end, it waits until every edit is searchable, compares the index and asks everything once more, and says what
came of it in its last line.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry

from freshline.answers.opening import open_answers
from freshline.catalogs import load_catalog
from freshline.reference.library import Library
from freshline.semantic.opening import open_reading
from freshline.semantic.verification import open_index_verification
from freshline.trial.library import LibraryOutcome
from infra.configuration import load_settings
from infra.logs import configure_logs
from infra.postgres.pool import open_pool
from schemas.errors import FreshlineError

EDITS_PER_S: Final = 3.0
QUESTIONS_PER_S: Final = 5.0
_TELL_EVERY_S: Final = 0.5
_FOLLOWED_WITHIN_S: Final = 60.0


async def _run() -> LibraryOutcome:
    settings = load_settings()
    catalog = load_catalog(settings.catalog)
    registry = CollectorRegistry()
    async with (
        open_pool(settings.postgres.connect_arguments(), application="voiceassist library", max_size=3) as pool,
        open_reading(settings, catalog) as reading,
        open_answers(settings, catalog, registry=registry, reading=reading) as answers,
    ):
        library = Library(pool, answers, reading.index, edits_per_s=EDITS_PER_S, questions_per_s=QUESTIONS_PER_S)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, library.stop)
        telling = asyncio.create_task(_tell(library))
        await library.run()
        telling.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(_FOLLOWED_WITHIN_S):
                await library.followed()
        async with open_index_verification(settings, catalog) as verification:
            report = await verification.run()
        untrue = await library.examine()
        return LibraryOutcome(
            figures=library.figures(),
            refused=_refused(registry),
            passages=report.passages,
            wrong_passages=sum(report.wrong.values()),
            examples=[str(finding) for finding in report.examples],
            untrue=untrue,
        )


async def _tell(library: Library) -> None:
    while True:
        _print(library.figures())
        await asyncio.sleep(_TELL_EVERY_S)


def _refused(registry: CollectorRegistry) -> dict[str, int]:
    return {
        sample.labels["reason"]: round(sample.value)
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "freshline_answers_refused_total"
    }


def _print(what: msgspec.Struct) -> None:
    sys.stdout.write(msgspec.json.encode(what).decode() + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run until told to end."""
    configure_logs("warning")
    try:
        _print(asyncio.run(_run()))
    except FreshlineError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
