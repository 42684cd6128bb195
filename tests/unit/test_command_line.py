"""The command line loads only what is asked for, and shows an expected error as its message alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from freshline.cli.main import COMMANDS, EXIT_ERROR, main


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_listed_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert command in capsys.readouterr().out


def test_the_list_of_commands_imports_none_of_them() -> None:
    code = (
        "import sys; from freshline.cli.main import main; main(['--help']); "
        "sys.exit('aiokafka' in sys.modules or 'infra.local.stack' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_an_expected_error_is_printed_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "mongo"]) == EXIT_ERROR
    printed = capsys.readouterr().err
    assert "error: no service is called mongo: there are" in printed
    assert "Traceback" not in printed


def test_an_unknown_command_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upp"]) == EXIT_ERROR
    assert "upp" in capsys.readouterr().err


def test_status_of_a_stack_that_does_not_run_is_1(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FRESHLINE_LOCAL__FOLDER", str(tmp_path))
    assert main(["status", "--json"]) == 1
    services = json.loads(capsys.readouterr().out)
    assert {service["state"] for service in services} == {"stopped"}


def test_config_show_hides_secrets_and_names_their_origin(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FRESHLINE_POSTGRES__DSN", "postgresql://me:topsecret@db:6432/app")
    assert main(["config", "show"]) == 0
    printed = capsys.readouterr().out
    assert "topsecret" not in printed
    assert any(line.split()[:3] == ["postgres.dsn", "********", "environment"] for line in printed.splitlines())
