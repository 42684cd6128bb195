"""What the killed and restarted processes said, beside a failure: nobody else will be there to look."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

LAST_LINES = 60


@pytest.fixture(autouse=True)
def _logs_beside_a_failure(request: pytest.FixtureRequest, tmp_path: Path, run_folder: Path) -> Iterator[None]:
    """Show the end of each log where the test fails: those in its own folder, and those of the stack."""
    yield
    for log in sorted([*tmp_path.rglob("*.log"), *run_folder.glob("stack-*/logs/*.log")]):
        lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        # Pytest shows what is said in the last phase, too.
        request.node.add_report_section("teardown", log.stem, "\n".join(lines))
