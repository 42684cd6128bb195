"""The database's side: `prepare` makes what Debezium and the readers need, `remove` takes it back."""

from __future__ import annotations

from collections.abc import Callable

from infra.postgres.names import Names, Wish
from infra.postgres.observed import Observed, observe
from infra.postgres.pool import open_connection
from infra.postgres.preparation import plan_preparation
from infra.postgres.removal import plan_removal
from infra.postgres.steps import Plan, Step, carry_out
from infra.settings import PostgresSettings
from schemas.catalog import Catalog

Planner = Callable[[Wish, Observed], Plan]


def _ignore(_: Step) -> None:
    pass


async def prepare_database(
    settings: PostgresSettings, catalog: Catalog, *, dry_run: bool = False, done: Callable[[Step], None] = _ignore
) -> Plan:
    """Make in the database what the catalog needs, and return what was (or, in a dry run, would be) done.

    Raises:
        DatabaseUnfitError: the database does not have what the catalog says; lists every fault.
        StepFailedError: Postgres refused a statement.
        StoreUnavailableError: Postgres does not answer, or is a standby.
    """
    return await _carry(settings, catalog, plan_preparation, dry_run, done)


async def remove_from_database(
    settings: PostgresSettings, catalog: Catalog, *, dry_run: bool = False, done: Callable[[Step], None] = _ignore
) -> Plan:
    """Take back what was made in the database, and return what was (or, in a dry run, would be) done.

    Raises:
        StillFollowedError: the slot is being read.
        StepFailedError: Postgres refused a statement.
        StoreUnavailableError: Postgres does not answer, or is a standby.
    """
    return await _carry(settings, catalog, plan_removal, dry_run, done)


async def _carry(
    settings: PostgresSettings, catalog: Catalog, planner: Planner, dry_run: bool, done: Callable[[Step], None]
) -> Plan:
    names = Names(
        publication=settings.publication,
        slot=settings.slot,
        debezium_role=settings.debezium_role,
        reader_role=settings.reader_role,
    )
    wish = Wish(catalog, names, settings.role_passwords(), settings.whole_rows)
    async with open_connection(settings.connect_arguments(), application="freshline db") as connection:
        plan = planner(wish, await observe(connection, catalog, names))
        if not dry_run:
            await carry_out(connection, plan, done)
        return plan
