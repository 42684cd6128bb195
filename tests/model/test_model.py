"""The protocol's promises hold in every state of every world, and each rule is needed for one of them.

FRESHLINE_MODEL_DEPTH=2 .venv/bin/python -m pytest tests/model/test_model.py    explores the larger worlds too
.venv/bin/python -m tests.model.report                                          writes docs/model.md anew
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.model.explorer import explore, walk
from tests.model.large_worlds import DEEP_WORLDS, WIDE_WORLDS
from tests.model.names import RULES
from tests.model.worlds import SHOWN_IN, WORLDS

RecordProperty = Callable[[str, object], None]

DEPTH: Final = int(os.environ.get("FRESHLINE_MODEL_DEPTH", "1"))
EXPLORED: Final = dict(WORLDS) if DEPTH == 1 else {**WORLDS, **DEEP_WORLDS}
WALKS: Final = 400 * DEPTH * DEPTH
_DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "model.md"


@pytest.fixture(scope="module")
def document() -> str:
    """What docs/model.md says."""
    return _DOCUMENT.read_text()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", EXPLORED)
def test_no_promise_is_broken_in_any_state(name: str, document: str, record_property: RecordProperty) -> None:
    result = explore(EXPLORED[name], limit=5_000_000)
    record_property("states", result.states)
    assert not result.broken, "\n".join((result.broken, *result.trace))
    assert result.complete
    if name in WORLDS:
        assert f"| {name} | {result.states:,} |" in document, "write docs/model.md anew: python -m tests.model.report"


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", WIDE_WORLDS)
def test_no_promise_is_broken_on_random_ways(name: str, record_property: RecordProperty) -> None:
    result = walk(WIDE_WORLDS[name], seed=1, walks=WALKS)
    record_property("states", result.states)
    assert not result.broken, "\n".join((result.broken, *result.trace))


@pytest.mark.parametrize("rule", RULES)
def test_without_a_rule_a_promise_is_broken(rule: str, document: str, record_property: RecordProperty) -> None:
    result = explore(WORLDS[SHOWN_IN[rule]], frozenset([rule]))
    record_property("states", result.states)
    record_property("counterexample", [*result.trace, result.broken])
    assert result.broken, f"nothing goes wrong without the rule {rule!r} in the world {SHOWN_IN[rule]!r}"
    shown = f"`{rule}`", result.broken, "; ".join(result.trace)
    assert all(part in document for part in shown), "write docs/model.md anew: python -m tests.model.report"
