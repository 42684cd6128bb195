"""``freshline semantic explain``: which cached answers a question nearly hit, and why they would not be given."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from freshline.answers.matching import Candidate
from freshline.answers.opening import open_answers
from freshline.catalogs import load_catalog
from infra.configuration import load_settings
from infra.settings import Settings


def explain(
    question: Annotated[str, typer.Argument(help="As it would be asked.")],
    *,
    tenant: Annotated[str | None, typer.Option(help="Whose documents: the value of the tenant column.")] = None,
    user: Annotated[str | None, typer.Option(help="Who asks, where answers are personal.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Say which cached answers a question would hit or nearly hit, and why they are given or refused."""
    settings = load_settings()
    candidates = asyncio.run(_explain(settings, question, tenant=tenant, user=user))
    if json:
        found = [_facts(candidate) for candidate in candidates]
        typer.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
        return
    console = Console(soft_wrap=True)
    for candidate in candidates:
        for line in _lines(candidate):
            console.print(line, highlight=False)
    if not candidates:
        console.print(
            f"No cached question has a similarity of {settings.answers.similarity:g} or more "
            "(FRESHLINE_ANSWERS__SIMILARITY).",
            highlight=False,
        )


async def _explain(settings: Settings, question: str, *, tenant: str | None, user: str | None) -> list[Candidate]:
    async with open_answers(settings, load_catalog(settings.catalog)) as answers:
        return await answers.explain(question, tenant, user=user)


def _outcome(candidate: Candidate) -> tuple[str, str]:
    """What would come of it in a word, and why."""
    if candidate.status == "stale":
        return "stale", "a source of the answer has changed since"
    if candidate.status == "none":
        return "gone", "the answer has expired, or made room for another"
    if candidate.verdict is None:
        return "given", "it is the same question"
    word = "given" if candidate.verdict.allowed else f"refused: {candidate.verdict.reason}"
    return word, candidate.verdict.detail


def _lines(candidate: Candidate) -> Iterator[str]:
    word, why = _outcome(candidate)
    style = "green" if word == "given" else "yellow"
    question = "" if candidate.cached is None else candidate.cached.question
    yield f"[bold]{escape(question)}[/]  [dim]{candidate.similarity:.3f}[/]  [{style}]{escape(word)}[/]"
    yield f"  {escape(why)}"


def _facts(candidate: Candidate) -> dict[str, object]:
    word, why = _outcome(candidate)
    return {
        "question": None if candidate.cached is None else candidate.cached.question,
        "similarity": candidate.similarity,
        "outcome": word,
        "why": why,
        "documents": [] if candidate.cached is None else [list(each) for each in candidate.cached.documents],
    }
