"""Which tags a change drops: those that the row's old and new values name.

Where a value can't be told (a column outside the replica identity, a TOASTed one), the whole family goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from schemas.catalog import Table, Template, family_tag
from schemas.debezium import UNAVAILABLE
from schemas.envelope import DELETE, LONGEST_KEY_BYTES, TRUNCATE, TagEnvelope, tag_values

_Values = Mapping[str, object]


class EventTags:
    """The tags of one table, or those of them that a reader of its events cares for."""

    def __init__(self, table: Table, templates: Sequence[Template] | None = None) -> None:
        """``templates`` are among the table's own; all of them without it."""
        self._table = table
        self._templates = table.tag_templates if templates is None else tuple(templates)
        self._never_null = frozenset(column.name for column in table.columns if not column.nullable)
        self.everything = tuple(dict.fromkeys(family_tag(template.family) for template in self._templates))

    def of_event(self, event: TagEnvelope[object], key: Sequence[object]) -> tuple[str, ...]:
        """The tags that an event drops; ``key`` are the values of its message key, unused where it is a TRUNCATE."""
        if event.op == TRUNCATE:
            return self.everything
        found: dict[str, None] = {}
        for version in (event.before, event.after):
            if version is not None:
                found.update(dict.fromkeys(self._of(tag_values(self._table, version))))
        if event.op == DELETE and event.before is None:
            found.update(dict.fromkeys(self.of_key(key)))
        return tuple(found)

    def of_key(self, key: Sequence[object]) -> tuple[str, ...]:
        """The tags of a row of which only the key is known."""
        known = dict(zip(self._table.key, key, strict=True))
        return self._of({name: known.get(name, msgspec.UNSET) for name in self._table.tag_columns})

    def _of(self, values: _Values) -> tuple[str, ...]:
        tags = (self._tag(template, values) for template in self._templates)
        return tuple(tag for tag in tags if tag is not None)

    def _tag(self, template: Template, values: _Values) -> str | None:
        parts = [values[name] for name in template.columns]
        for name, part in zip(template.columns, parts, strict=True):
            # A null where none can be says nothing: the column is not part of the replica identity.
            if part is msgspec.UNSET or (part is None and name in self._never_null):
                return family_tag(template.family)
            if isinstance(part, str) and (part == UNAVAILABLE or len(part) > LONGEST_KEY_BYTES):
                return family_tag(template.family)
        return None if None in parts else template.fill(parts)
