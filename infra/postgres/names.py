"""What Freshline makes in a database: its names, and what the operator wishes of it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from schemas.catalog import Catalog

SCHEMA = "freshline"
HEARTBEAT = "heartbeat"
SLOTS = "slot"
IDENTITIES = "changed_identity"
IDENTITY_INDEX_PREFIX = "freshline_identity"
ROLE_MARK = "Made by freshline db prepare; freshline db remove drops it."


class Names(msgspec.Struct, frozen=True):
    """What the operator may call otherwise, because a server is shared or a house has rules for names."""

    publication: str = "freshline"
    slot: str = "freshline"
    debezium_role: str = "freshline_debezium"
    reader_role: str = "freshline_reader"

    @property
    def roles(self) -> tuple[str, str]:
        """Debezium's role and the readers'."""
        return self.debezium_role, self.reader_role


class Wish(msgspec.Struct, frozen=True):
    """What the operator wants of a database.

    Attributes:
        catalog: the tables to follow.
        names: what our things are called.
        passwords: of the roles, by role; a role without one is made but can't log in by password.
        whole_rows: qualified names of tables whose whole rows may leave Postgres.
    """

    catalog: Catalog
    names: Names = Names()
    passwords: Mapping[str, str] = {}
    whole_rows: frozenset[str] = frozenset()
