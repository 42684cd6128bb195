"""The plan that prepares a database, from hand-written grounds."""

from __future__ import annotations

import re

import msgspec
import pytest

from infra.postgres.fitness import DatabaseUnfitError
from infra.postgres.names import IDENTITY_INDEX_PREFIX, ROLE_MARK, Wish
from infra.postgres.observed import Grant, Observed, Publication, PublishedTable, Role, UniqueIndex
from infra.postgres.preparation import plan_preparation
from infra.postgres.scram import verifier, verifies
from schemas.catalog import Catalog, Column, Table
from tests.unit.preparation_ground import CATALOG, NOTES, OWN, PRIMARY_KEY, SERVER, column, database, notes

WISH = Wish(CATALOG)
OURS = f"{IDENTITY_INDEX_PREFIX}_notes"


def statements(observed: Observed, wish: Wish = WISH) -> list[str]:
    return [str(step) for step in plan_preparation(wish, observed).steps]


def one(found: list[str], part: str) -> str:
    (only,) = [statement for statement in found if part in statement]
    return only


def identity_index(name: str = OURS, *, valid: bool = True, usable: bool = True) -> UniqueIndex:
    return UniqueIndex(name, ("id", "owner"), is_primary=False, is_identity=False, valid=valid, usable=usable)


def test_a_column_outside_the_catalog_is_neither_published_nor_granted() -> None:
    assert not [statement for statement in statements(database()) if "secret" in statement]
    assert '"public"."notes" ("id", "owner", "body")' in one(statements(database()), "CREATE PUBLICATION")


def test_an_index_over_key_and_tags_becomes_the_identity_and_is_built_without_blocking_writers() -> None:
    plan = plan_preparation(WISH, database())
    create = plan.steps[0]
    assert create.sql == f'CREATE UNIQUE INDEX CONCURRENTLY "{OURS}" ON "public"."notes" ("id", "owner")'
    assert create.alone
    assert one([str(s) for s in plan.steps], "REPLICA IDENTITY") == (
        f'ALTER TABLE "public"."notes" REPLICA IDENTITY USING INDEX "{OURS}"'
    )


def test_an_index_that_is_there_already_is_used() -> None:
    found = statements(database(notes(indexes=(identity_index("notes_owner_key"),))))
    assert not [s for s in found if "CREATE UNIQUE INDEX" in s]
    assert 'USING INDEX "notes_owner_key"' in one(found, "REPLICA IDENTITY")


def test_an_index_that_a_failed_build_left_behind_is_dropped_first() -> None:
    found = statements(database(notes(indexes=(identity_index(valid=False),))))
    assert found[:2] == [
        f'DROP INDEX CONCURRENTLY "public"."{OURS}"',
        f'CREATE UNIQUE INDEX CONCURRENTLY "{OURS}" ON "public"."notes" ("id", "owner")',
    ]


@pytest.mark.parametrize("unusable", [identity_index("partial", usable=False)])
def test_a_partial_or_deferrable_index_is_not_used(unusable: UniqueIndex) -> None:
    assert f'USING INDEX "{OURS}"' in one(statements(database(notes(indexes=(unusable,)))), "REPLICA IDENTITY")


def test_tags_within_the_key_need_no_identity_of_their_own() -> None:
    table = msgspec.structs.replace(NOTES, tags=("note:{id}",))
    found = statements(database(), Wish(Catalog((table,))))
    assert not [s for s in found if "REPLICA IDENTITY" in s or "CREATE UNIQUE INDEX" in s]


def test_whole_rows_leave_only_with_consent() -> None:
    observed = database(notes(owner_not_null=False))
    table = msgspec.structs.replace(
        NOTES, columns=tuple(msgspec.structs.replace(c, nullable=c.name != "id") for c in NOTES.columns)
    )
    with pytest.raises(DatabaseUnfitError, match="secret would leave Postgres"):
        plan_preparation(Wish(Catalog((table,))), observed)
    plan = plan_preparation(Wish(Catalog((table,)), whole_rows=frozenset({"public.notes"})), observed)
    assert one([str(s) for s in plan.steps], "REPLICA IDENTITY") == 'ALTER TABLE "public"."notes" REPLICA IDENTITY FULL'
    assert '"public"."notes", ' in one([str(s) for s in plan.steps], "CREATE PUBLICATION")
    assert any("logs the old row" in advice for advice in plan.advice)


def test_before_postgres_15_whole_rows_leave_only_with_consent() -> None:
    observed = database(server=msgspec.structs.replace(SERVER, version_num=140010))
    with pytest.raises(DatabaseUnfitError, match="column lists from Postgres 15"):
        plan_preparation(WISH, observed)
    assert plan_preparation(Wish(CATALOG, whole_rows=frozenset({"public.notes"})), observed).steps


def test_every_fault_is_told_at_once() -> None:
    server = msgspec.structs.replace(SERVER, wal_level="replica")
    bare = msgspec.structs.replace(
        notes(), indexes=(), columns={"id": column("id", "int4"), "owner": column("owner", "int8", not_null=False)}
    )
    missing = Table(name="ghosts", key=("id",), columns=(Column("id", "int8"),))
    with pytest.raises(DatabaseUnfitError) as caught:
        plan_preparation(Wish(Catalog((NOTES, missing))), database(bare, server=server))
    said = str(caught.value)
    for part in (
        "wal_level is 'replica'",
        "public.ghosts does not exist",
        "primary key is missing",
        "public.notes.id is int4: the catalog says int8",
        "public.notes.owner may be null",
        "public.notes.body does not exist",
    ):
        assert part in said


def test_a_deferrable_primary_key_is_refused() -> None:
    deferrable = msgspec.structs.replace(PRIMARY_KEY, usable=False)
    with pytest.raises(DatabaseUnfitError, match=r"public\.notes: its primary key is deferrable"):
        plan_preparation(WISH, database(msgspec.structs.replace(notes(), indexes=(deferrable,))))


def test_a_prepared_database_needs_nothing() -> None:
    assert statements(prepared()) == []


def test_a_column_that_left_the_catalog_is_published_and_granted_no_longer() -> None:
    shorter = msgspec.structs.replace(NOTES, columns=NOTES.columns[:2])
    found = statements(prepared(), Wish(Catalog((shorter,))))
    assert '("id", "owner"), ' in one(found, "ALTER PUBLICATION")
    assert [s for s in found if s.startswith("REVOKE")] == [
        'REVOKE ALL ("body") ON "public"."notes" FROM "freshline_debezium"',
        'REVOKE ALL ("body") ON "public"."notes" FROM "freshline_reader"',
    ]


def test_nothing_is_taken_from_a_role_that_was_here_before() -> None:
    theirs = Role("freshline_reader", True, False, False, None, True, ())
    grants = frozenset({Grant("freshline_reader", "public", "notes", None, "SELECT")})
    found = statements(database(roles={"freshline_reader": theirs}, grants=grants))
    assert not [s for s in found if s.startswith("REVOKE") or 'CREATE ROLE "freshline_reader"' in s]
    assert not [s for s in found if 'GRANT SELECT ("id"' in s and "freshline_reader" in s]


def test_a_password_is_printed_nowhere_and_set_only_when_it_differs() -> None:
    wish = Wish(CATALOG, passwords={"freshline_debezium": "open sesame"})
    plan = plan_preparation(wish, database())
    create = next(step for step in plan.steps if 'CREATE ROLE "freshline_debezium"' in step.sql)
    assert "open sesame" not in create.sql
    assert "SCRAM" not in str(create)
    stored = create.sql.rsplit("'", 2)[1]
    assert verifies(stored, "open sesame")
    assert not verifies(stored, "open says me")
    assert statements(prepared(debezium_verifier=stored), wish) == []
    other = Wish(CATALOG, passwords={"freshline_debezium": "another"})
    assert statements(prepared(debezium_verifier=stored), other) == [
        "ALTER ROLE \"freshline_debezium\" PASSWORD '********'"
    ]


def test_names_can_not_end_their_quotes() -> None:
    evil = 'x"; DROP TABLE users; --'
    table = msgspec.structs.replace(NOTES, name=evil)
    observed = database(msgspec.structs.replace(notes(), name=evil))
    for statement in statements(observed, Wish(Catalog((table,)))):
        outside = re.sub(r"\"(?:[^\"]|\"\")*\"|'(?:[^']|'')*'", "?", statement)
        assert "DROP" not in outside


def test_a_verifier_is_the_one_of_the_standard() -> None:
    made = verifier("pencil", salt=b"0123456789abcdef", iterations=4096)
    assert made.startswith("SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==$")
    assert verifies(made, "pencil")
    assert not verifies("md5abc", "pencil")
    assert not verifies(None, "pencil")


def prepared(debezium_verifier: str | None = None) -> Observed:
    """A database in which everything is done."""
    index = msgspec.structs.replace(identity_index(), is_identity=True)
    listed = ("id", "owner", "body")
    roles = ("freshline_debezium", "freshline_reader")
    grants = {Grant(role, "public", "notes", name, "SELECT") for role in roles for name in listed}
    grants |= {Grant(roles[0], "freshline", "heartbeat", None, kind) for kind in ("SELECT", "INSERT", "UPDATE")}
    grants |= {Grant(roles[1], "freshline", "slot", None, "SELECT")}
    return database(
        notes(identity="i", indexes=(index,)),
        publication=Publication(
            all_tables=False,
            via_root=True,
            all_operations=True,
            tables={
                ("public", "notes"): PublishedTable(frozenset(listed), filtered=False),
                ("freshline", "heartbeat"): PublishedTable(None, filtered=False),
            },
        ),
        roles={
            roles[0]: Role(roles[0], True, True, False, ROLE_MARK, True, (), debezium_verifier),
            roles[1]: Role(roles[1], True, False, False, ROLE_MARK, True, ()),
        },
        role_settings={
            (roles[0], name): value
            for name, value in {"extra_float_digits": "1", "bytea_output": "hex", "intervalstyle": "postgres"}.items()
        },
        usages=frozenset((role, schema) for role in roles for schema in ("public", "freshline")),
        grants=frozenset(grants),
        **OWN,
    )
