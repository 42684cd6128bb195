"""What the connector is configured to be, how that drifts, and what is done about it."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from freshline.source.situation import Action, Situation, decide
from infra.connect.client import ConnectorStatus, TaskStatus
from infra.connect.configuration import ConnectorTuning, DatabaseAddress, connector_configuration
from infra.connect.drift import differences
from infra.postgres.observed import Slot
from schemas.catalog import Catalog, Column, Table
from schemas.voiceassist import VOICEASSIST

ADDRESS = DatabaseAddress("db", 5432, "app", "freshline_debezium", "sesame", sslmode="verify-full", ssl_root_cert="/ca")


def configuration(catalog: Catalog = VOICEASSIST, **overrides: str) -> dict[str, str]:
    return connector_configuration(
        catalog,
        ADDRESS,
        topic_prefix="va",
        publication="freshline",
        slot="freshline",
        tuning=ConnectorTuning(),
        overrides=overrides,
    )


def included(expressions: str, name: str) -> bool:
    return any(re.fullmatch(expression, name) for expression in expressions.split(","))


def test_only_columns_of_the_catalog_are_included() -> None:
    lists = configuration()["column.include.list"]
    assert included(lists, "public.users.email")
    assert not included(lists, "public.users.password_hash")
    assert not included(lists, "public.users.emailx")


def test_heartbeats_are_followed_like_any_table() -> None:
    found = configuration()
    assert included(found["table.include.list"], "freshline.heartbeat")
    assert not included(found["table.include.list"], "freshline.slot")
    assert included(found["column.include.list"], "freshline.heartbeat.beat_at")


def test_a_name_with_special_characters_includes_itself_alone() -> None:
    table = Table(name="odd.na+me$", key=("id",), columns=(Column("id", "int8"),))
    lists = configuration(Catalog((table,)))["table.include.list"]
    assert included(lists, "public.odd.na+me$")
    assert not included(lists, "public.oddxna+me$")


def test_truncates_are_sent_nothing_is_left_out_and_no_record_lacks_a_value() -> None:
    found = configuration()
    assert found["skipped.operations"] == "none"
    assert found["tombstones.on.delete"] == "false"
    assert found["message.prefix.exclude.list"] == ".*"
    assert found["errors.tolerance"] == "none"
    assert found["publication.autocreate.mode"] == "disabled"


def test_tls_to_the_database_and_overrides_are_handed_on() -> None:
    found = configuration(VOICEASSIST, **{"poll.interval.ms": "7"})
    assert found["database.sslmode"] == "verify-full"
    assert found["database.sslrootcert"] == "/ca"
    assert found["poll.interval.ms"] == "7"


def test_drift_is_told_without_passwords() -> None:
    wanted = configuration()
    found = {**wanted, "name": "freshline", "database.password": "leaked", "poll.interval.ms": "500", "extra": "1"}
    found.pop("slot.name")
    told = [str(difference) for difference in differences(found, wanted)]
    assert told == [
        "~ database.password = ******** -> ********",
        "- extra = 1",
        "~ poll.interval.ms = 500 -> 2",
        "+ slot.name = freshline",
    ]
    assert differences({**wanted, "name": "freshline"}, wanted) == ()


SLOT = Slot("freshline", "pgoutput", "app", True, 1, 1000, 1100, 0, "reserved", None)
RUNNING = ConnectorStatus("RUNNING", "w", (TaskStatus(0, "RUNNING", "w"),))
STOPPED = ConnectorStatus("STOPPED", "w", ())
FAILED = ConnectorStatus("RUNNING", "w", (TaskStatus(0, "FAILED", "w", "java.lang.X\n\tat y\nCaused by: z.Q: no\n"),))
STREAM = ({"lsn": 1200, "lsn_proc": 1200},)
SNAPSHOT = ({"lsn": 1200, "snapshot": "INITIAL", "snapshot_completed": False},)
FINE = Situation(config={}, status=RUNNING, offsets=STREAM, slot=SLOT, recorded=True)


def after(drifted: bool = False, **changes: Any) -> tuple[Action, ...]:
    return decide(msgspec.structs.replace(FINE, **changes), drifted=drifted)


def test_what_is_well_is_left_alone() -> None:
    assert after() == ()
    assert FINE.streaming


def test_a_first_run_creates_lets_run_and_records() -> None:
    assert after(config=None, status=None, offsets=(), slot=None, recorded=False) == (
        Action.CREATE,
        Action.RESUME,
        Action.RECORD,
    )


def test_drift_alone_is_only_configured() -> None:
    assert after(drifted=True) == (Action.CONFIGURE,)


def test_a_slot_that_is_gone_ends_its_generation_before_anything_else() -> None:
    assert after(slot=None, status=FAILED)[0] is Action.FORGET
    assert Action.RESET_OFFSETS in after(slot=None, status=FAILED)
    assert after(slot=None, status=FAILED)[-1] is Action.RECORD


def test_a_slot_that_lost_its_log_is_dropped() -> None:
    lost = msgspec.structs.replace(SLOT, wal_status="lost", restart_lsn=None)
    found = after(slot=lost, status=FAILED)
    assert found[:3] == (Action.FORGET, Action.RESET_OFFSETS, Action.DROP_SLOT)


def test_a_slot_that_was_made_anew_behind_our_back_is_noticed() -> None:
    anew = msgspec.structs.replace(SLOT, restart_lsn=5000, confirmed_flush_lsn=5000)
    assert after(slot=anew)[:3] == (Action.FORGET, Action.RESET_OFFSETS, Action.DROP_SLOT)


def test_offsets_that_are_gone_mean_a_new_beginning() -> None:
    assert after(offsets=())[0] is Action.FORGET


def test_a_connector_that_is_still_in_its_snapshot_is_not_streaming() -> None:
    assert not msgspec.structs.replace(FINE, offsets=SNAPSHOT, recorded=False).streaming
    assert after(offsets=SNAPSHOT, recorded=False) == (Action.RECORD,)


def test_a_stopped_connector_is_resumed_and_a_failed_one_restarted() -> None:
    assert after(status=STOPPED) == (Action.RESUME,)
    assert after(status=FAILED) == (Action.RESTART,)
    assert FAILED.reason == "z.Q: no"


def test_a_slot_of_a_beginning_that_was_given_up_is_made_anew() -> None:
    assert after(status=STOPPED, offsets=(), recorded=False) == (Action.DROP_SLOT, Action.RESUME, Action.RECORD)
