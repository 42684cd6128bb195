"""The two roles of least privilege: Debezium's, which may replicate and write heartbeats, and the readers'.

Both see the cached columns and nothing else. From a role that was here before us nothing is ever taken: others may rely
on it. What a role of ours was granted beyond its need is revoked, so a column that leaves the catalog can't be read on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from infra.postgres.names import HEARTBEAT, ROLE_MARK, SCHEMA, SLOTS, Wish
from infra.postgres.observed import Observed, Role
from infra.postgres.quoting import columns, identifier, literal, qualified
from infra.postgres.scram import verifier, verifies
from infra.postgres.steps import Step
from schemas.catalog import Table
from schemas.debezium import ROLE_SETTINGS


def role_steps(wish: Wish, observed: Observed) -> Iterator[Step]:
    """What the two roles lack, and what they have too much of."""
    yield from _role(wish, observed, wish.names.debezium_role, replication=True)
    yield from _role(wish, observed, wish.names.reader_role, replication=False)


def role_advice(wish: Wish, observed: Observed) -> Iterator[str]:
    """What about the roles only a person can decide."""
    for role in wish.names.roles:
        present = observed.roles.get(role)
        if role not in wish.passwords and _is_ours(present):
            yield f"No password is set for {role}: it can log in only where pg_hba.conf asks for none (peer, cert)."
        elif present is not None and present.superuser:
            yield f"{role} is a superuser, which is far more than it needs: ALTER ROLE {identifier(role)} NOSUPERUSER."
        elif present is not None and role in wish.passwords and not observed.server.superuser:
            yield f"Whether the password of {role} is the one of the settings can be seen by a superuser only."


def _role(wish: Wish, observed: Observed, role: str, *, replication: bool) -> Iterator[Step]:
    present = observed.roles.get(role)
    yield from _login(role, present, wish.passwords.get(role), observed, replication=replication)
    if present is None or not present.connects:
        yield Step(
            f"GRANT CONNECT ON DATABASE {identifier(observed.server.database)} TO {identifier(role)}",
            f"{role} connects to this database.",
        )
    for schema in dict.fromkeys((*(table.schema for table in wish.catalog.tables), SCHEMA)):
        if (role, schema) not in observed.usages:
            yield Step(
                f"GRANT USAGE ON SCHEMA {identifier(schema)} TO {identifier(role)}", f"{role} finds tables in {schema}."
            )
    for table in wish.catalog.tables:
        yield from _table_grants(table, role, observed)
    yield from _unlisted_grants(wish, role, observed)
    if replication:
        yield from _sessions(role, observed)
        yield from _own_grants(role, HEARTBEAT, ("SELECT", "INSERT", "UPDATE"), observed)
    else:
        yield from _own_grants(role, SLOTS, ("SELECT",), observed)


def _login(
    role: str, present: Role | None, password: str | None, observed: Observed, *, replication: bool
) -> Iterator[Step]:
    name = identifier(role)
    purpose = (
        "Debezium's role: it may replicate, and read what is published."
        if replication
        else "The readers' and workers' role: it may read the cached columns, and nothing else."
    )
    extra = " REPLICATION" if replication else ""
    if present is None:
        stored = "" if password is None else f" PASSWORD {literal(verifier(password))}"
        shown = "" if password is None else " PASSWORD '********'"
        yield Step(f"CREATE ROLE {name} LOGIN{extra}{stored}", purpose, shown=f"CREATE ROLE {name} LOGIN{extra}{shown}")
        yield Step(f"COMMENT ON ROLE {name} IS {literal(ROLE_MARK)}", "A mark, so that only our own roles are dropped.")
        return
    if not present.can_login or (replication and not (present.replication or present.superuser)):
        yield Step(f"ALTER ROLE {name} LOGIN{extra}", f"The role exists but may not do its work. {purpose}")
    if password is not None and observed.server.superuser and not verifies(present.verifier, password):
        yield Step(
            f"ALTER ROLE {name} PASSWORD {literal(verifier(password))}",
            "Its password is not the one of the settings.",
            shown=f"ALTER ROLE {name} PASSWORD '********'",
        )


def _sessions(role: str, observed: Observed) -> Iterator[Step]:
    database = identifier(observed.server.database)
    for name, value in ROLE_SETTINGS.items():
        if observed.role_settings.get((role, name)) != value:
            yield Step(
                f"ALTER ROLE {identifier(role)} IN DATABASE {database} SET {identifier(name)} = {literal(value)}",
                "Debezium reads values as the text that Postgres writes in its sessions; this is the form we count on.",
            )


def _table_grants(table: Table, role: str, observed: Observed) -> Iterator[Step]:
    place = qualified(table.schema, table.name)
    of_role = [g for g in observed.grants if (g.role, g.schema, g.table) == (role, table.schema, table.name)]
    wanted = [column.name for column in table.columns]
    if _is_ours(observed.roles.get(role)):
        whole = [g for g in of_role if g.column is None]
        surplus = sorted({g.column for g in of_role if g.column is not None} - set(wanted))
        if whole:
            yield Step(
                f"REVOKE ALL ON {place} FROM {identifier(role)}",
                f"{role} may do more with the whole table {table.qualified_name} than it needs to.",
            )
            of_role = []  # the columns' privileges went with it, so they are all granted again
        elif surplus:
            yield Step(
                f"REVOKE ALL {columns(surplus)} ON {place} FROM {identifier(role)}",
                f"No longer listed in the catalog: {', '.join(surplus)}.",
            )
    granted = {g.column for g in of_role if g.privilege == "SELECT"}
    missing = [] if None in granted else [name for name in wanted if name not in granted]
    if missing:
        yield Step(
            f"GRANT SELECT {columns(missing)} ON {place} TO {identifier(role)}",
            f"{role} reads these columns of {table.qualified_name}; it can't see any other.",
        )


def _unlisted_grants(wish: Wish, role: str, observed: Observed) -> Iterator[Step]:
    listed = {(table.schema, table.name) for table in wish.catalog.tables}
    places = {(g.schema, g.table) for g in observed.grants if g.role == role and g.schema != SCHEMA}
    for schema, table in sorted(places - listed) if _is_ours(observed.roles.get(role)) else ():
        yield Step(
            f"REVOKE ALL ON {qualified(schema, table)} FROM {identifier(role)}",
            f"{schema}.{table} is no longer in the catalog.",
        )


def _is_ours(role: Role | None) -> bool:
    return role is None or role.marked == ROLE_MARK


def _own_grants(role: str, table: str, privileges: Iterable[str], observed: Observed) -> Iterator[Step]:
    granted = {g.privilege for g in observed.grants if (g.role, g.schema, g.table) == (role, SCHEMA, table)}
    missing = [privilege for privilege in privileges if privilege not in granted]
    if missing:
        yield Step(
            f"GRANT {', '.join(missing)} ON {qualified(SCHEMA, table)} TO {identifier(role)}",
            f"{role} needs it of our own table.",
        )
