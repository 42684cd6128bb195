"""`freshline up`, `status` and `down` as a person runs them: each a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.postgres_home import postgres_home
from infra.local.processes import marked
from tests.conftest import CACHE

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the stack."""
    return tmp_path / "local"


@pytest.fixture
def freshline(folder: Path) -> Iterator[Run]:
    """Runs the command line on that folder, and ends whatever it started."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "freshline", *arguments],
            env=os.environ | {"FRESHLINE_LOCAL__FOLDER": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )

    yield run
    run("down", "--data")


def states(status: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    return {service["name"]: service["state"] for service in json.loads(status.stdout)}


def test_up_returns_and_what_it_started_lives_on(freshline: Run) -> None:
    up = freshline("up", "valkey", "postgres")
    assert up.returncode == 0, up.stderr
    status = freshline("status", "--json")
    assert status.returncode == 1  # two of five
    assert states(status) == {
        "postgres": "running",
        "valkey": "running",
        "qdrant": "stopped",
        "kafka": "stopped",
        "connect": "stopped",
    }
    origins = freshline("config", "show").stdout
    assert "redis.url" in origins
    assert "local stack" in origins


def test_down_leaves_no_process_and_nothing_outside_its_folder(freshline: Run, folder: Path) -> None:
    assert freshline("up", "valkey", "postgres").returncode == 0
    down = freshline("down")
    assert down.returncode == 0, down.stderr
    assert marked(folder) == []
    assert not postgres_home(folder / "postgres", CACHE, "nobody").outside.exists()
    assert freshline("down").returncode == 0


def test_a_second_up_finds_the_data_of_the_first(freshline: Run, folder: Path) -> None:
    freshline("up", "postgres")
    first = json.loads((folder / "state.json").read_text())
    freshline("down")
    freshline("up", "postgres")
    second = json.loads((folder / "state.json").read_text())
    assert second["services"]["postgres"]["ports"] == first["services"]["postgres"]["ports"]
    assert second["services"]["postgres"]["facts"] == first["services"]["postgres"]["facts"]
