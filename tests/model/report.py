"""Write docs/model.md: what was explored, and for each rule what goes wrong without it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.model.explorer import Result, explore
from tests.model.index import INDEX_RULES, INDEX_SHOWN_IN, INDEX_WORLDS, explore_index
from tests.model.names import RULES
from tests.model.worlds import SHOWN_IN, WORLDS

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "model.md"

_HEAD: Final = """\
# The model

The coherence protocol is a handful of Lua scripts (`infra/redis/scripts`) and the order in which workers, readers and
writers call them. `tests/model` holds the same rules as pure functions, a small world around them, and three tests:

- **No promise is broken in any state.** Every order in which things can happen in the worlds below, all rules in.
- **Without a rule a promise is broken.** The same with one rule left out: the shortest way there is told below.
- **The real scripts do what the rules say.** 100,000 random interleavings on a real server, compared after each call;
  and with one decision of a script changed (31 such changes) they do not.

The promises, checked in every state: what a reader can hit is not older than the last applied event of its row, nor
than what a read was given before (except what Redis lost meanwhile), nor than the write whose token the read presents;
at quiet every copy is the database's; and a process's own memory is not older than what it was told of.

A world has rows, transactions (whose ids are in the order of their beginnings, not of their commits; with a bystander
that stays in progress), a log in partitions that runs ahead of sight, workers, a zombie, readers, writers, a process
with a memory, and misfortune: evictions, leases and entries that expire, failovers to an earlier moment, restarts
without data, retention that overtakes, topics made anew, lost connections. Versions of a row are named after the
positions of the changes that made them.

The semantic index has worlds of its own, at the end: one document, its passages and its head, refreshers that may be
killed anywhere or be too late, and somebody who makes an answer. A search never gives what is older than the last
change that the index has followed; at quiet it gives the database's text, whole; and an answer is not older than what
was told, as long as the lists of what has yet to follow are kept, nor ever than what has followed.

This page is written by `python -m tests.model.report`, and `pytest tests/model` fails where it is not what is found.
`FRESHLINE_MODEL_DEPTH=2 pytest tests/model` explores larger worlds as well.
"""


def _counterexample(rule: str, sentence: str, world: str, result: Result) -> list[str]:
    return [
        f"### `{rule}`",
        "",
        f"{sentence} Without it, {result.broken}:",
        "",
        f"{'; '.join(result.trace)}.",
        "",
        f"(World *{world}*, {result.states:,} states.)",
        "",
    ]


def text() -> str:
    """The whole page."""
    lines = [_HEAD, "## With all rules: states explored, no promise broken", "", "| world | states |", "|---|---:|"]
    total = 0
    for name, world in WORLDS.items():
        states = explore(world).states
        total += states
        lines.append(f"| {name} | {states:,} |")
    lines += [f"| **together** | **{total:,}** |", "", "## Without a rule", ""]
    for rule, sentence in RULES.items():
        result = explore(WORLDS[SHOWN_IN[rule]], frozenset([rule]))
        lines += _counterexample(rule, sentence, SHOWN_IN[rule], result)
    lines += ["## The index: states explored, no promise broken", "", "| world | states |", "|---|---:|"]
    lines += [f"| {name} | {explore_index(first).states:,} |" for name, first in INDEX_WORLDS.items()]
    lines += ["", "## The index: without a rule", ""]
    for rule, sentence in INDEX_RULES.items():
        result = explore_index(INDEX_WORLDS[INDEX_SHOWN_IN[rule]], frozenset([rule]))
        lines += _counterexample(rule, sentence, INDEX_SHOWN_IN[rule], result)
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(text())
