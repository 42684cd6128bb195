"""``python -m bench.false_friends``: measure the four rules, and print what came out."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from bench.false_friends.measuring import RULES, Measured, Share, run
from bench.results import percentile

_HALVES = ("development", "report")
_NAMES = {"cosine": "cosine ≥ 0.85", "gptcache": "GPTCache", "guard": "guard", "served": "guard and ≥ 0.85"}


def main() -> None:
    """Print a table of hits among paraphrases, and one of wrong hits among near misses."""
    measured = run()
    console = Console()
    for same, title in ((True, "Hits among paraphrases"), (False, "Wrong hits among near misses")):
        console.print(_table(measured, title, same=same))
    costs = measured.cost_ms
    console.print(f"The guard took {percentile(costs, 0.5):.2f} ms a pair (p99 {percentile(costs, 0.99):.2f} ms).")
    console.print(f"GPTCache's decisions are those of {measured.gptcache}.")


def _table(measured: Measured, title: str, *, same: bool) -> Table:
    table = Table("kind", *(f"{_NAMES[rule]}, {half}" for half in _HALVES for rule in RULES), title=title)
    kinds = sorted({kind for _, kind, is_same, _ in measured.shares if is_same == same})
    for kind in kinds:
        cells = [measured.shares.get((half, kind, same, rule), Share()) for half in _HALVES for rule in RULES]
        table.add_row(
            "all" if kind == "*" else kind,
            *(f"{share.value:.1%} ({share.hits}/{share.pairs})" if share.pairs else "" for share in cells),
            end_section=kind == "*",
        )
    return table


if __name__ == "__main__":
    main()
