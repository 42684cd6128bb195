"""The catalog: for each table, what is cached of it, under which keys and tags, and for how long.

It is a value, made once and passed around. A row's entry lies under a key (``user:{id}``); everything else that is
derived from rows carries tags (``user:{user_id}``), and a change of a row drops the tags that its old and its new
values name. A column that is not listed never leaves Postgres.

A template names columns in braces. Its *family* is what stands before the first brace (``user:``), and the family
tag ``user:*`` stands for all tags of the family at once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec

from schemas.errors import CatalogError, KeyValueError, PatternError
from schemas.keys import key_part, part_is_canonical, part_text, value_text

ROW_TTL_S = 300
ROW_LIMIT_BYTES = 64 * 1024
PASSAGE_BYTES = 512
TEXT_LIMIT_BYTES = 1024 * 1024

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_TEMPLATE = re.compile(r"^[a-z][a-z0-9_-]*(:\{\w+\})*$")
# Names under which the protocol keeps its own things.
RESERVED_FAMILIES = frozenset({"state", "tag", "notices", "pending", "followed", "answer", "answers", "semantic"})
_TEXT_TYPES = frozenset({"text", "varchar", "citext", "bpchar"})
_SHORTEST_PASSAGE_BYTES = 64


class Column(msgspec.Struct, frozen=True):
    """A cached column and its Postgres type (``int8``, ``text``, ``timestamptz``, ``text[]``, ``enum`` …)."""

    name: str
    type: str
    nullable: bool = False


class Template(msgspec.Struct, frozen=True, dict=True):
    """The form of a key or a tag: a family and the columns that tell its members apart."""

    text: str

    @cached_property
    def family(self) -> str:
        """What stands before the first value: ``user`` of ``user:{id}``."""
        return self.text.split(":", 1)[0]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns whose values the template takes, in order."""
        return tuple(_PLACEHOLDER.findall(self.text))

    def fill(self, values: Sequence[object]) -> str:
        """The key or tag for these values, which must be in the order of ``columns``."""
        return ":".join((self.family, *map(key_part, values)))


class Indexed(msgspec.Struct, frozen=True, dict=True):
    """How the rows of a table are found by what their text means. A row with text is called a document.

    Attributes:
        columns: the text columns that are split into passages, each by itself.
        tag: the template of the document's own tag, over the key; an answer made from the document carries it.
        library: the template of the tag of all documents of a tenant; an answer that a new document may change carries
            it. Without a tenant it has no columns.
        tenant: the column that says whose the document is, and no search leaves it out; None where all are everyone's.
        language: for Postgres's full text, which is searched as well where it is set (``english``, ``simple`` …).
        passage_bytes: the longest passage in bytes of UTF-8. A model reads only so much: 256 word pieces or so.
        limit_bytes: of a longer text only the beginning is indexed.
    """

    columns: tuple[str, ...]
    tag: str
    library: str
    tenant: str | None = None
    language: str | None = None
    passage_bytes: int = PASSAGE_BYTES
    limit_bytes: int = TEXT_LIMIT_BYTES

    @cached_property
    def tag_template(self) -> Template:
        """The template of the document's own tag."""
        return Template(self.tag)

    @cached_property
    def library_template(self) -> Template:
        """The template of the tag of all documents of a tenant."""
        return Template(self.library)

    def faults(self, table: Table) -> list[str]:
        """What contradicts the table that it belongs to."""
        types = table.column_types
        faults = [f"indexed column {name!r} is not listed" for name in self.columns if name not in types]
        if not self.columns:
            faults.append("it is indexed by no column")
        faults.extend(
            f"indexed column {name!r} holds no text, but {types[name]}"
            for name in self.columns
            if name in types and types[name] not in _TEXT_TYPES
        )
        undeclared = [text for text in (self.tag, self.library) if text not in table.tags]
        faults.extend(f"the index's tag {text!r} is none of its tags" for text in undeclared)
        if self.tag_template.columns != table.key:
            faults.append(f"the index's tag {self.tag!r} must name the key columns {table.key} in their order")
        if self.library_template.columns != ((self.tenant,) if self.tenant is not None else ()):
            faults.append(f"the index's library {self.library!r} must name the column of the tenant, and no other")
        if self.tenant is not None and self.tenant not in types:
            faults.append(f"the column {self.tenant!r} of the tenant is not listed")
        if not _SHORTEST_PASSAGE_BYTES <= self.passage_bytes <= self.limit_bytes:
            faults.append(f"passage_bytes must be at least {_SHORTEST_PASSAGE_BYTES}, and no more than limit_bytes")
        return faults


def family_tag(family: str) -> str:
    """The tag that stands for every tag of a family."""
    return f"{family}:*"


class Table(msgspec.Struct, frozen=True, dict=True):
    """What is cached of one table.

    Attributes:
        key: the primary key's columns, which are also the message key of its events.
        entry: the template of the row's own entry, over key columns; None where rows are not cached one by one.
        tags: templates of the tags that a change of a row drops, by its old and its new values.
        columns: the cached columns, in the order of the canonical form. Key and tag columns are among them.
        ttl_s: how long an entry lives, in seconds.
        limit_bytes: a row whose canonical form is larger is not cached.
        index: how its rows are found by what they mean; None where they are not.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    entry: str | None = None
    tags: tuple[str, ...] = ()
    schema: str = "public"
    ttl_s: int = ROW_TTL_S
    limit_bytes: int = ROW_LIMIT_BYTES
    index: Indexed | None = None

    def __post_init__(self) -> None:
        """Refuse a table that contradicts itself.

        Raises:
            CatalogError: names every fault found.
        """
        names = [column.name for column in self.columns]
        faults = [f"column {name!r} is listed twice" for name in {n for n in names if names.count(n) > 1}]
        if not self.key:
            faults.append("it has no key: name the columns of its primary key")
        faults.extend(
            f"template {template!r} is not of the form 'family:{{column}}'"
            for template in (self.entry, *self.tags)
            if template is not None and not _TEMPLATE.match(template)
        )
        faults.extend(f"the family {family!r} is reserved" for family in self.families if family in RESERVED_FAMILIES)
        used = {c for template in self.tags for c in Template(template).columns} | set(self.key)
        faults.extend(
            f"column {name!r} is used by its key or tags but not listed" for name in sorted(used - set(names))
        )
        if self.entry is not None and Template(self.entry).columns != self.key:
            faults.append(f"entry {self.entry!r} must name the key columns {self.key} in their order")
        faults.extend(
            f"column {c.name!r} is part of the key and can't be nullable"
            for c in self.columns
            if c.nullable and c.name in self.key
        )
        if self.ttl_s <= 0 or self.limit_bytes <= 0:
            faults.append("ttl_s and limit_bytes must be positive")
        if self.index is not None:
            faults.extend(self.index.faults(self))
        if faults:
            msg = f"Table {self.schema}.{self.name}: " + "; ".join(faults)
            raise CatalogError(msg)

    @property
    def qualified_name(self) -> str:
        """``schema.name``."""
        return f"{self.schema}.{self.name}"

    @cached_property
    def entry_template(self) -> Template | None:
        """The template of the row's entry, if rows are cached one by one."""
        return Template(self.entry) if self.entry is not None else None

    @cached_property
    def tag_templates(self) -> tuple[Template, ...]:
        """The templates of the tags that a change drops."""
        return tuple(Template(text) for text in self.tags)

    @cached_property
    def families(self) -> tuple[str, ...]:
        """The families that its entry and its tags belong to, each once."""
        templates = (*((self.entry_template,) if self.entry_template else ()), *self.tag_templates)
        return tuple(dict.fromkeys(template.family for template in templates))

    @cached_property
    def tag_columns(self) -> tuple[str, ...]:
        """The columns that its tags are made of, each once, in the order of the table's columns."""
        used = {column for template in self.tag_templates for column in template.columns}
        return tuple(column.name for column in self.columns if column.name in used)

    @cached_property
    def column_types(self) -> Mapping[str, str]:
        """Each cached column's Postgres type."""
        return {column.name: column.type for column in self.columns}

    @cached_property
    def key_types(self) -> tuple[str, ...]:
        """The Postgres types of the key columns, in their order."""
        return tuple(self.column_types[name] for name in self.key)

    def key_texts(self, values: Sequence[object]) -> tuple[str, ...]:
        """The one text of each of these values of the key columns.

        Raises:
            KeyValueError: a value is not of its column's type, or there are too few or too many.
        """
        if len(values) != len(self.key):
            msg = f"The key of {self.qualified_name} is ({', '.join(self.key)}), and {len(values)} values were given."
            raise KeyValueError(msg)
        try:
            return tuple(map(value_text, self.key_types, values))
        except KeyValueError as error:
            msg = f"Key ({', '.join(self.key)}) of {self.qualified_name}: {error}"
            raise KeyValueError(msg) from error

    @cached_property
    def format(self) -> str:
        """A fingerprint of the canonical form: entries of pods that cache other columns are misses to each other."""
        text = ",".join(f"{column.name} {column.type}" for column in self.columns)
        return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()

    def tags_of(self, values: Mapping[str, Any]) -> list[str]:
        """The tags that a row with these values falls under; a null value has no tag."""
        tags = []
        for template in self.tag_templates:
            parts = [values[column] for column in template.columns]
            if None not in parts:
                tags.append(template.fill(parts))
        return tags


class Catalog(msgspec.Struct, frozen=True, dict=True):
    """All tables that are followed."""

    tables: tuple[Table, ...]

    def __post_init__(self) -> None:
        """Refuse tables that would share entries.

        Raises:
            CatalogError: two tables have the same name or the same family of entries.
        """
        for what, values in (
            ("table", [table.qualified_name for table in self.tables]),
            ("family of entries", [t.entry_template.family for t in self.tables if t.entry_template]),
        ):
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                msg = f"The catalog has a {what} more than once: {', '.join(twice)}"
                raise CatalogError(msg)

    @cached_property
    def by_qualified_name(self) -> Mapping[str, Table]:
        """Tables by ``schema.name``."""
        return {table.qualified_name: table for table in self.tables}

    @cached_property
    def indexed(self) -> tuple[Table, ...]:
        """The tables whose rows are found by what they mean."""
        return tuple(table for table in self.tables if table.index is not None)

    @cached_property
    def by_entry_family(self) -> Mapping[str, Table]:
        """Tables whose rows are cached one by one, by the family of their entries."""
        return {table.entry_template.family: table for table in self.tables if table.entry_template}

    @cached_property
    def tag_types(self) -> Mapping[str, frozenset[tuple[str, ...]]]:
        """For each family of tags, the types of the columns that its tags are made of."""
        types: dict[str, set[tuple[str, ...]]] = {}
        for table in self.tables:
            for template in table.tag_templates:
                columns = tuple(table.column_types[name] for name in template.columns)
                types.setdefault(template.family, set()).add(columns)
        return {family: frozenset(found) for family, found in types.items()}

    @cached_property
    def tag_arities(self) -> Mapping[str, frozenset[int]]:
        """For each family of tags, with how many values its tags come."""
        arities: dict[str, set[int]] = {}
        for table in self.tables:
            for template in table.tag_templates:
                arities.setdefault(template.family, set()).add(len(template.columns))
        return {family: frozenset(counts) for family, counts in arities.items()}

    @cached_property
    def floor_ttl_ms(self) -> int:
        """How long floors live: twice the longest entry, so that clocks may differ by as much as an entry lives."""
        return 2000 * max((table.ttl_s for table in self.tables), default=ROW_TTL_S)

    def table(self, name: str) -> Table:
        """The table of this name, with or without its schema.

        Raises:
            CatalogError: the catalog has no such table.
        """
        found = self.by_qualified_name.get(name) or self.by_qualified_name.get(f"public.{name}")
        if found is None:
            msg = f"The catalog has no table {name!r}. It has: {', '.join(self.by_qualified_name)}"
            raise CatalogError(msg)
        return found

    def table_of_key(self, key: str) -> Table:
        """The table whose rows have entries of this form, ``user:42`` say.

        Raises:
            PatternError: no table has.
        """
        family, *values = key.split(":")
        table = self.by_entry_family.get(family)
        if (
            table is None
            or len(values) != len(table.key)
            or not all(values)
            or "*" in key
            or not all(map(part_is_canonical, table.key_types, values))
        ):
            forms = ", ".join(sorted(str(table.entry) for table in self.by_entry_family.values()))
            msg = f"{key!r} is not the key of an entry. The catalog has entries of the forms {forms}."
            raise PatternError(msg)
        return table

    def key_texts_of(self, key: str) -> tuple[Table, tuple[str, ...]]:
        """The table that the key of an entry belongs to, and the texts of its key columns' values.

        Raises:
            PatternError: no table has entries of this form.
        """
        table = self.table_of_key(key)
        return table, tuple(map(part_text, key.split(":")[1:]))

    def tables_under(self, family: str) -> list[Table]:
        """The tables whose changes drop tags of this family or whose entries belong to it."""
        return [table for table in self.tables if family in table.families]

    def check_tag(self, tag: str) -> str:
        """The tag itself, if the catalog declares tags of its form.

        Raises:
            PatternError: no table drops such a tag, so an entry under it would never be invalidated.
        """
        family, *values = tag.split(":")
        arities = self.tag_arities.get(family, frozenset())
        if len(values) not in arities or "*" in tag or not all(values):
            raise PatternError(self._undeclared(tag))
        if not any(
            len(types) == len(values) and all(map(part_is_canonical, types, values)) for types in self.tag_types[family]
        ):
            msg = (
                f"No change drops the tag {tag!r}, since no row has such a value. Write the value as Postgres prints "
                "it (42, not 042), with the characters '%', ':', '*' and blanks escaped by schemas.keys.key_part."
            )
            raise PatternError(msg)
        return tag

    def parse_pattern(self, pattern: str) -> str:
        """The tag that a pattern stands for: ``user:42:*`` is the tag ``user:42``, ``user:*`` the family tag.

        Raises:
            PatternError: the pattern is not a declared tag followed by ``:*``.
        """
        stem, star, rest = pattern.rpartition(":*")
        if not star or rest or "*" in stem or "?" in stem or "[" in stem or not stem:
            msg = (
                f"Pattern {pattern!r} is not a key prefix up to a declared tag. "
                f"Write a tag and ':*', as in {self._examples()}, or declare the tag that you miss in the catalog."
            )
            raise PatternError(msg)
        if ":" not in stem and (stem in self.tag_arities or stem in self.by_entry_family):
            return family_tag(stem)
        return self.check_tag(stem)

    def _undeclared(self, tag: str) -> str:
        family = tag.partition(":")[0]
        return (
            f"No table of the catalog drops a tag like {tag!r}: what lies under it would never be invalidated. "
            f"Declare it in a table's tags, as tags=('{family}:{{column}}',), or use one of: {self._examples()}."
        )

    def _examples(self) -> str:
        return ", ".join(sorted({f"{text}:*" for table in self.tables for text in table.tags}))
