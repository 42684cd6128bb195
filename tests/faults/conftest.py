"""What tests of faults share: the ground of workers, and what killed processes said, beside a failure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeSettings
from tests.integration.worker_ground import SIZES, Ground, open_ground

LAST_LINES = 60


@pytest.fixture(autouse=True)
def _logs_beside_a_failure(request: pytest.FixtureRequest, tmp_path: Path, run_folder: Path) -> Iterator[None]:
    """Show the end of each log where the test fails: those in its own folder, and those of the stack."""
    yield
    for log in sorted([*tmp_path.rglob("*.log"), *run_folder.glob("stack-*/logs/*.log")]):
        lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        # Pytest shows what is said in the last phase, too.
        request.node.add_report_section("teardown", log.stem, "\n".join(lines))


@pytest.fixture
async def ground(make_settings: MakeSettings) -> AsyncIterator[Ground]:
    """Topics for workers whose partitions are another's after a second."""
    async with open_ground(make_settings(topics=SIZES, worker={"session_timeout_s": 1})) as ground:
        yield ground
