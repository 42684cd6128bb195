"""The index's promises hold in every state of every world, and each of its rules is needed for one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.model.index import INDEX_RULES, INDEX_SHOWN_IN, INDEX_WORLDS, explore_index

_DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "model.md"


@pytest.mark.parametrize("name", INDEX_WORLDS)
def test_no_promise_of_the_index_is_broken_in_any_state(name: str) -> None:
    result = explore_index(INDEX_WORLDS[name])
    assert not result.broken, "\n".join((result.broken, *result.trace))
    assert result.complete
    assert f"| {name} | {result.states:,} |" in _DOCUMENT.read_text(), "write it anew: python -m tests.model.report"


@pytest.mark.parametrize("rule", INDEX_RULES)
def test_without_a_rule_a_promise_of_the_index_is_broken(rule: str) -> None:
    result = explore_index(INDEX_WORLDS[INDEX_SHOWN_IN[rule]], frozenset([rule]))
    assert result.broken, f"nothing goes wrong without the rule {rule!r} in the world {INDEX_SHOWN_IN[rule]!r}"
    shown = f"`{rule}`", result.broken, "; ".join(result.trace)
    assert all(part in _DOCUMENT.read_text() for part in shown), "write it anew: python -m tests.model.report"
