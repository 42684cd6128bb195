"""`freshline try` as a person runs it: what it starts, what it finds, how it ends. One stack, kept in between."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from infra.local.processes import marked
from infra.local.state import StateFile
from schemas.entry import pack, unpack

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("try"), pytest.mark.timeout(600)]


class CommandLine:
    """Runs commands on a stack of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = os.environ | {"FRESHLINE_LOCAL__FOLDER": str(folder)}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start one, what it says in one stream."""
        return subprocess.Popen(
            [sys.executable, "-m", "freshline", *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run one to its end; its exit code and what it said."""
        with self.start(*arguments) as process:
            said, _ = process.communicate()
        return process.returncode, said


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    made = CommandLine(tmp_path_factory.mktemp("try") / "local")
    yield made
    made.run("down", "--data")
    assert marked(made.folder) == []


@pytest.fixture(scope="module")
def tried(commands: CommandLine) -> str:
    """What a short trial said that left its stack running."""
    code, said = commands.run("try", "--duration", "6", "--truncate", "--keep")
    assert code == 0, said
    return said


def test_a_trial_compares_every_copy_and_finds_none_wrong(tried: str) -> None:
    compared = re.search(r"^(\d+) copies compared, 0 wrong", tried, re.MULTILINE)
    assert compared is not None, tried
    assert int(compared[1]) > 100
    assert "first event applied" in tried
    passages = re.search(r"^index (\d+) passages compared with the database, 0 wrong", tried, re.MULTILINE)
    assert passages is not None, tried
    assert int(passages[1]) > 20
    assert "at the end, 0 answers not true" in tried
    assert "dead letters" not in tried


def test_a_second_trial_on_what_the_first_one_left_is_as_good(commands: CommandLine, tried: str) -> None:
    assert tried
    code, said = commands.run("try", "--duration", "3", "--seed", "2")
    assert code == 0, said
    assert "stopping the stack" not in said


def test_ctrl_c_ends_the_load_and_the_comparison_still_follows(commands: CommandLine, tried: str) -> None:
    assert tried
    with commands.start("try", "--duration", "0") as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if line.startswith("elapsed"):
                process.send_signal(signal.SIGINT)
                break
        said += process.stdout.read()
    assert process.returncode == 0, said
    assert "0 wrong" in said


def test_a_copy_that_was_tampered_with_is_found_and_explained(commands: CommandLine, tried: str) -> None:
    assert tried
    # So that there are fresh entries, whatever lay there has ended by now.
    code, said = commands.run("try", "--duration", "3", "--seed", "3", "--no-documents")
    assert code == 0, said
    with tampered(commands.folder) as key:
        code, said = commands.run("verify")
        assert code == 1, said
        assert key in said
        assert "1 wrong" in said
        code, said = commands.run("explain", key)
        assert code == 1, said
        assert re.search(r"as the database\s+no", said), said


@contextmanager
def tampered(folder: Path) -> Iterator[str]:
    """Overwrite one row's value in Redis, its header left alone; gives its key."""
    endpoints = StateFile(folder / "state.json").read().endpoints
    with redis.Redis.from_url(endpoints["redis"]["url"]) as client:
        for name in client.scan_iter("freshline:user:*"):
            entry = client.get(name)
            unpacked = unpack(entry) if isinstance(entry, bytes) else None
            if unpacked is not None and unpacked[0].kind == "v" and unpacked[0].lsn:
                client.set(name, pack(unpacked[0], unpacked[1][:-1] + b" }"), keepttl=True)
                yield str(name.decode().removeprefix("freshline:"))
                client.delete(name)
                return
    raise AssertionError("no user is cached")
