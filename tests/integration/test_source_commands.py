"""`freshline db` from the command line: what is printed, what is asked, how it ends."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from freshline.cli.db import app
from infra.settings import PostgresSettings

RUNNER = CliRunner()


@pytest.fixture
def _own_environment(database: PostgresSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the test's own database the one of the settings."""
    values = {
        "DSN": database.url(),
        "SLOT": database.slot,
        "DEBEZIUM_ROLE": database.debezium_role,
        "DEBEZIUM_PASSWORD": "top-secret",
        "READER_ROLE": database.reader_role,
    }
    for name, value in values.items():
        monkeypatch.setenv(f"FRESHLINE_POSTGRES__{name}", value)


@pytest.mark.usefixtures("_own_environment")
def test_a_database_is_prepared_and_given_back_with_every_statement_shown_and_no_password() -> None:
    assert "none -> 0003" in RUNNER.invoke(app, ["migrate"]).output
    assert "nothing to do" in RUNNER.invoke(app, ["migrate"]).output

    declined = RUNNER.invoke(app, ["prepare"], input="n\n")
    assert declined.exit_code == 1
    assert "CREATE PUBLICATION" in declined.output
    prepared = RUNNER.invoke(app, ["prepare", "--yes"])
    assert prepared.exit_code == 0, prepared.output
    assert "done: CREATE PUBLICATION" in prepared.output
    for hidden in ("top-secret", "SCRAM-SHA"):
        assert hidden not in declined.output + prepared.output
    assert RUNNER.invoke(app, ["prepare"]).stdout == "Nothing to do.\n"

    assert "DROP PUBLICATION" in RUNNER.invoke(app, ["remove", "--dry-run"]).output
    assert RUNNER.invoke(app, ["remove", "--yes"]).exit_code == 0
    assert RUNNER.invoke(app, ["remove"]).stdout == "Nothing to do.\n"
    assert "0003 -> none" in RUNNER.invoke(app, ["migrate", "base", "--down", "--yes"]).output
