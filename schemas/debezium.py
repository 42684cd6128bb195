"""What Debezium must be told so that its events carry rows in the canonical form, and the marks that it leaves.

Evidence and reasons for each setting: docs/decisions/canonical-form.md.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from typing import Final

# What an event says instead of a TOASTed value that its change left alone. Types differ in how it is dressed up.
UNAVAILABLE: Final = "__debezium_unavailable_value"
UNAVAILABLE_BASE64: Final = base64.b64encode(UNAVAILABLE.encode()).decode()
UNAVAILABLE_NUMBERS: Final = list(UNAVAILABLE.encode())
UNAVAILABLE_UUID: Final = str(
    uuid.UUID(bytes=hashlib.md5(UNAVAILABLE.encode(), usedforsecurity=False).digest(), version=3)
)

_JSON: Final = "org.apache.kafka.connect.json.JsonConverter"

# Part of the connector's configuration: changing one of these changes the bytes of entries, or makes them wrong.
VALUE_FORMS: Final[dict[str, str]] = {
    # A JSON number would pass through a double.
    "decimal.handling.mode": "string",
    # Not base64: in that mode a TOASTed bytea that was left alone arrives as null. The converter makes base64 of bytes.
    "binary.handling.mode": "bytes",
    # The numeric mode adds up months as 30.44 days.
    "interval.handling.mode": "string",
    # The other modes can't tell years after 294247, or lose microseconds.
    "time.precision.mode": "isostring",
    # Without it `name` arrives as null.
    "include.unknown.datatypes": "true",
    "unavailable.value.placeholder": UNAVAILABLE,
    # What can't be converted arrives as null, and where that may happen null is not believed. "fail" would stop the
    # connector for good on a row that is legal.
    "event.converting.failure.handling.mode": "warn",
    "field.name.adjustment.mode": "none",
    "key.converter": _JSON,
    "key.converter.schemas.enable": "false",
    "value.converter": _JSON,
    "value.converter.schemas.enable": "false",
    # By default a null in a column that has a default arrives as that default.
    "key.converter.replace.null.with.default": "false",
    "value.converter.replace.null.with.default": "false",
}

# Settings of the role that Debezium logs in with (ALTER ROLE ... SET ...): it reads values as the text that Postgres
# writes in that role's sessions. Its driver sets DateStyle itself, and TimeZone to that of its JVM.
ROLE_SETTINGS: Final[dict[str, str]] = {
    # A lower value rounds floats.
    "extra_float_digits": "1",
    # "escape" stops the connector.
    "bytea_output": "hex",
    "intervalstyle": "postgres",
}

# Settings of the sessions that fill entries.
READER_SETTINGS: Final[dict[str, str]] = {"extra_float_digits": "1", "datestyle": "ISO", "timezone": "UTC"}

# Conditions that keep out the legal values that stop the connector, by Postgres type, for a CHECK. {v} is the column.
GUARDS: Final[dict[str, str]] = {
    "interval": "abs(extract(hour FROM {v})) <= 2147483647",
    "timetz": "extract(timezone FROM {v})::int % 60 = 0",
}
