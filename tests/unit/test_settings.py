"""Settings come from the first place that has them, are validated at once, and never show a secret."""

import json
from pathlib import Path

import pytest

from freshline.lag.watching import watched
from infra.configuration import load_configuration, load_settings
from infra.settings import DemandSettings, LagSettings, PostgresSettings, Settings
from schemas.errors import SettingsError
from schemas.voiceassist import VOICEASSIST


def test_a_dsn_stands_for_the_parts_that_it_names() -> None:
    settings = PostgresSettings.model_validate(
        {"dsn": "postgresql://me:p%40ss@db:6432/app?sslmode=verify-full&sslrootcert=/ca.pem"},
    )
    assert (settings.host, settings.port, settings.database, settings.user) == ("db", 6432, "app", "me")
    assert settings.password_text() == "p@ss"
    assert settings.sslmode == "verify-full"
    assert str(settings.ssl_root_cert) == "/ca.pem"


def test_a_part_that_is_given_wins_over_the_dsn() -> None:
    settings = PostgresSettings.model_validate({"dsn": "postgresql://me@db/app", "database": "other"})
    assert settings.database == "other"


def test_a_url_of_a_server_can_be_read_back() -> None:
    settings = PostgresSettings.model_validate({"host": "db", "user": "a@b", "password": "p:/w", "database": "x y"})
    again = PostgresSettings.model_validate({"dsn": settings.url()})
    assert again.password_text() == "p:/w"
    assert (again.user, again.database, again.host, again.port) == ("a@b", "x y", "db", 5432)


def test_a_socket_folder_in_a_dsn_is_connected_to_without_tls() -> None:
    settings = PostgresSettings.model_validate({"dsn": "postgresql://me@/app?host=/run/postgresql"})
    arguments = settings.connect_arguments()
    assert arguments["host"] == "/run/postgresql"
    assert "ssl" not in arguments


def test_a_secret_may_stand_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    monkeypatch.setenv("FRESHLINE_REDIS__URL", "rediss://cache:6380/0")
    monkeypatch.setenv("FRESHLINE_REDIS__PASSWORD_FILE", str(file))
    monkeypatch.setenv("FRESHLINE_REDIS__SSL_CA_FILE", "/ca.pem")
    assert load_settings().redis.client_arguments() == {
        "url": "rediss://cache:6380/0",
        "password": "hunter2",
        "ssl_ca_certs": "/ca.pem",
    }


def test_a_secret_file_that_is_missing_is_named(tmp_path: Path) -> None:
    settings = PostgresSettings(host="db", password_file=tmp_path / "nothing")
    with pytest.raises(SettingsError, match="nothing"):
        settings.password_text()


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "freshline.toml"
    file.write_text('namespace = "from-file"\ntopic_prefix = "file"\n[redis]\nurl = "redis://file:6379"\n')
    monkeypatch.setenv("FRESHLINE_CONFIG", str(file))
    monkeypatch.setenv("FRESHLINE_NAMESPACE", "from-environment")
    configuration = load_configuration()
    assert configuration.settings.namespace == "from-environment"
    assert configuration.settings.topic_prefix == "file"
    origins = {name: origin for name, _value, origin in configuration.rows()}
    assert origins["namespace"] == "environment"
    assert origins["redis.url"] == str(file)
    assert origins["kafka.bootstrap_servers"] == "default"


def test_a_wrong_value_is_named_but_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHLINE_POSTGRES__DSN", "mysql://me:topsecret@db/app")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert "postgres" in str(raised.value)
    assert "topsecret" not in str(raised.value)


def test_a_misspelt_setting_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHLINE_REDIS__ADDRESS", "redis://cache")
    with pytest.raises(SettingsError, match=r"redis\.address"):
        load_settings()


def test_a_server_without_an_address_is_named_with_its_variable() -> None:
    with pytest.raises(SettingsError, match="FRESHLINE_KAFKA__BOOTSTRAP_SERVERS, FRESHLINE_REDIS__URL"):
        load_settings().require(["kafka", "redis"])


def test_a_state_file_that_can_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHLINE_LOCAL__FOLDER", str(tmp_path))
    (tmp_path / "state.json").write_text("[")
    with pytest.raises(SettingsError, match="freshline down"):
        load_settings()
    (tmp_path / "state.json").write_text(json.dumps({"endpoints": {"redis": {"url": "redis://here:1"}}}))
    assert load_settings().redis.url == "redis://here:1"


def test_what_is_set_for_one_role_differs_from_all_in_that_alone() -> None:
    lag = LagSettings.model_validate(
        {"demand": {"floor": 0, "ceiling": 20}, "demand_of": {"semantic-refresh": {"floor": 12}}}
    )
    assert lag.demand_of == {"semantic-refresh": DemandSettings(floor=12, ceiling=20)}
    same = LagSettings(demand=DemandSettings(floor=0), demand_of={"invalidation": DemandSettings(ceiling=4)})
    assert same.demand_of == {"invalidation": DemandSettings(floor=0, ceiling=4)}


def test_a_role_that_there_is_not_is_no_one_to_be_set() -> None:
    settings = Settings(lag=LagSettings(demand_of={"semantic_refresh": DemandSettings(ceiling=4)}))
    with pytest.raises(
        SettingsError, match=r"names semantic_refresh, which is no role that is scaled.* semantic-refresh"
    ):
        watched(settings, VOICEASSIST)
