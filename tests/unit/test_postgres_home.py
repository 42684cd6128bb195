"""Postgres's folders are ones that the user whom it runs as can reach, and nothing stays outside the clone."""

import os
from pathlib import Path

import pytest

from infra.local import postgres_home as module
from infra.local.postgres_home import PostgresHomeError, postgres_home


@pytest.fixture
def reachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that everybody may enter, as far as the decision can see; what lies outside goes to another one."""
    for name in ("clone", "cache", "outside"):
        (tmp_path / name).mkdir(mode=0o755)
    monkeypatch.setattr(module, "OUTSIDE", tmp_path / "outside")
    monkeypatch.setattr(module, "_others_may_enter", lambda folder: bool(folder.stat().st_mode & 0o001))
    monkeypatch.setattr(module, "LONGEST_SOCKET_FOLDER_BYTES", len(bytes(tmp_path / "clone" / "socket")))
    return tmp_path


def test_a_user_who_is_not_root_has_everything_in_the_clone(reachable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    home = postgres_home(reachable / "clone", reachable / "cache", "nobody")
    assert home.user is None
    assert home.data == reachable / "clone" / "data"
    assert home.programs == reachable / "cache" / "bin"
    assert home.socket_folder == reachable / "clone" / "socket"


def test_root_runs_it_as_another_user_in_the_clone(reachable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    home = postgres_home(reachable / "clone", reachable / "cache", "nobody")
    assert home.user == "nobody"
    assert home.data == reachable / "clone" / "data"


@pytest.mark.parametrize("closed", ["clone", "cache"])
def test_where_only_root_may_enter_all_lies_outside(
    closed: str,
    reachable: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (reachable / closed).chmod(0o700)
    home = postgres_home(reachable / "clone", reachable / "cache", "nobody")
    assert {home.data.parent, home.programs.parent.parent, home.socket_folder.parent} == {home.outside}


def test_a_path_too_long_for_a_socket_puts_only_the_socket_outside(
    reachable: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LONGEST_SOCKET_FOLDER_BYTES", 10)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    home = postgres_home(reachable / "clone", reachable / "cache", "nobody")
    assert home.socket_folder.parent == home.outside
    assert home.data == reachable / "clone" / "data"
    home.move_in()
    assert home.socket_folder.is_dir()
    home.move_out()
    assert not home.outside.exists()


def test_data_that_lay_outside_return_home(reachable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(module.PostgresHome, "give", lambda _home, _path: None)
    monkeypatch.setattr(module.PostgresHome, "_own_outside", lambda home: home.outside.mkdir(exist_ok=True))
    (reachable / "clone").chmod(0o700)
    (reachable / "clone" / "data").mkdir()
    (reachable / "clone" / "data" / "PG_VERSION").write_text("18")
    (reachable / "cache" / "bin").mkdir()
    (reachable / "cache" / "bin" / "postgres").write_text("program")
    home = postgres_home(reachable / "clone", reachable / "cache", "nobody")
    home.move_in()
    home.move_in()
    assert (home.data / "PG_VERSION").read_text() == "18"
    assert (home.programs / "postgres").read_text() == "program"
    assert not (reachable / "clone" / "data").exists()
    home.move_out()
    assert (reachable / "clone" / "data" / "PG_VERSION").read_text() == "18"
    assert not home.outside.exists()


def test_a_folder_that_somebody_else_made_is_refused(reachable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_SOCKET_FOLDER_BYTES", 10)
    home = postgres_home(reachable / "clone", reachable / "cache", "nobody")
    home.outside.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PostgresHomeError, match="not ours"):
        home.move_in()
