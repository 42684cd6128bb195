"""What the reference application caches besides rows: the key of each query, which says what drops it, and its run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from freshline.reference.statements import QUERIES
from freshline.verification.derivations import Derivation, Derivations
from infra.postgres.pool import Connection

Result = list[dict[str, Any]]


class Query(msgspec.Struct, frozen=True):
    """A cached query about one row.

    Attributes:
        name: of its SQL.
        form: of its key; the row's id stands in braces.
    """

    name: str
    form: str

    def key(self, row: int) -> str:
        """Under what it is cached."""
        return self.form.format(id=row)

    async def run(self, connection: Connection, row: int) -> Result:
        """Its result now, in the form that JSON has."""
        found: Result = msgspec.to_builtins(
            [dict(record) for record in await connection.fetch(QUERIES[self.name], row)]
        )
        return found


CONVERSATIONS_OF_USER: Final = Query("conversations_of_user", "user:{id}:conversations")
DASHBOARD_OF_USER: Final = Query("dashboard_of_user", "user:{id}:dashboard")
MESSAGES_OF_CONVERSATION: Final = Query("messages_of_conversation", "conversation:{id}:messages")
ALL: Final = (CONVERSATIONS_OF_USER, DASHBOARD_OF_USER, MESSAGES_OF_CONVERSATION)


def _derivation(query: Query) -> Derivation:
    async def derive(connection: Connection, values: Mapping[str, str]) -> bytes:
        return msgspec.json.encode(await query.run(connection, int(values["id"])))

    return derive


DERIVATIONS: Final = Derivations({query.form: _derivation(query) for query in ALL})
