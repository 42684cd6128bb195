"""Requests to invalidate, as producers write them on ``freshline.invalidate``.

A request that can't be obeyed to the letter is a dead letter, and is obeyed as far as it can be told what it meant:
what is dropped in vain costs misses, and what is kept in vain is stale.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from consumers.sink import Change, Unusable
from infra.kafka.log import Record
from infra.postgres.moments import Moment
from infra.redis import effects
from infra.redis.effects import Effect
from schemas import invalidation
from schemas.catalog import Catalog, family_tag
from schemas.errors import MalformedRecordError, PatternError

_FAMILY = re.compile(r"[^:*?\[\]{}\\]*")


class Requests:
    """What requests drop."""

    def __init__(self, catalog: Catalog) -> None:
        """Understand the keys and patterns of this catalog."""
        self._catalog = catalog
        self._tables_of = {
            family: catalog.by_entry_family.get(family)
            for family in dict.fromkeys((*catalog.tag_arities, *catalog.by_entry_family))
        }

    def read(self, record: Record) -> Change | Unusable:
        """What a request drops. A floor needs a position that no change meant by it lies beyond, so it comes later.

        Raises:
            MalformedRecordError: it is no request, or names what the catalog does not declare.
        """
        request = invalidation.decode_invalidation(record.value)
        try:
            if request.key is not None:
                self._catalog.table_of_key(request.key)
                return Unusable(record)
            tag = self._catalog.parse_pattern(request.pattern or "")
        except (PatternError, ValueError) as error:
            raise MalformedRecordError("undeclared_pattern", str(error)) from error
        return Unusable(record) if tag.endswith(":*") else Change((effects.drop_tag(tag),))

    def refuse(self, record: Record, error: MalformedRecordError | None) -> Unusable:
        """A request that can't be obeyed to the letter. None of them is a tombstone."""
        if error is None and record.value is None:
            error = MalformedRecordError("null_value", "the record has no value")
        return Unusable(record, error)

    def drop(self, refused: Unusable, moment: Moment) -> Sequence[Effect]:
        """What a request drops that needs a floor, or that can't be obeyed to the letter."""
        names = invalidation.names_in(refused.record.value)
        if not names:
            return self._everything(moment.lsn)
        return tuple(effect for name in names for effect in self._meant(name, moment.lsn))

    def _meant(self, name: str, lsn: int) -> Sequence[Effect]:
        if len(name) <= invalidation.LONGEST_NAME_BYTES:
            try:
                table = self._catalog.table_of_key(name)
                return (effects.uncacheable(name, table.qualified_name, lsn),)
            except (PatternError, ValueError):
                pass
            try:
                tag = self._catalog.parse_pattern(name)
            except (PatternError, ValueError):
                pass
            else:
                return self._family(tag[:-2], lsn) if tag.endswith(":*") else (effects.drop_tag(tag),)
        family = name[: len(match[0])] if (match := _FAMILY.match(name)) else ""
        if family in self._tables_of:
            return self._family(family, lsn)
        # Nothing is ever cached under a family that no table declares; a glob may mean any of those that are.
        rest = name[len(family) :]
        return () if family and (not rest or rest.startswith(":")) else self._everything(lsn)

    def _family(self, family: str, lsn: int) -> Sequence[Effect]:
        table = self._tables_of[family]
        floor = () if table is None else (effects.table_changed(table.qualified_name, lsn),)
        return (effects.drop_tag(family_tag(family)), *floor)

    def _everything(self, lsn: int) -> Sequence[Effect]:
        return tuple(effect for family in self._tables_of for effect in self._family(family, lsn))
