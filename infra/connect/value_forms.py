"""How Debezium writes values: the forms that the canonical row is made of."""

VALUE_FORMS: dict[str, str] = {
    "decimal.handling.mode": "string",
    "binary.handling.mode": "base64",
    "interval.handling.mode": "string",
}
