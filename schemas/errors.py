"""The exception tree. Each message says what happened, to what, and what to do.

FreshlineError
├── CatalogError            the catalog contradicts itself or asks for what can't be had
├── SettingsError           a setting is missing or wrong
├── MalformedRecordError    one record of a topic can't be used; it goes to the dead letters
│   └── RefusedRecordError  well formed, yet it can't be true (an LSN of the future, say)
├── PatternError            an invalidation pattern that no tag of the catalog covers
├── KeyValueError           a value that was given for a key is not of its column's type
├── StoreUnavailableError   Kafka, Postgres or Redis is away: waited for by workers, shown to people
├── OverloadedError         more reads wanted Postgres past the cache than it is asked for at once
├── SourceChangedError      the log no longer continues what the copies were made from
└── NotOpenError            a client was used before it was opened or after it was closed
"""


class FreshlineError(Exception):
    """Base of every error that Freshline raises on purpose."""


class CatalogError(FreshlineError):
    """The catalog contradicts itself or asks for something that can't be had."""


class SettingsError(FreshlineError):
    """A setting is missing or has a value that can't be used."""


class MalformedRecordError(FreshlineError):
    """One record of a topic can't be used. ``reason`` is a short code for metrics and dead letters."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class RefusedRecordError(MalformedRecordError):
    """A record is well formed and yet can't be true: its position lies beyond the database's own, say."""


class PatternError(FreshlineError):
    """An invalidation pattern that no declared tag covers."""


class KeyValueError(FreshlineError):
    """A value that was given for a key is not of its column's type, so no row can have it."""


class OverloadedError(FreshlineError):
    """More reads wanted Postgres past the cache than it is asked for at once, and this one waited too long."""


class StoreUnavailableError(FreshlineError):
    """Kafka, Postgres or Redis does not answer. Workers wait and try again; a person reads which and where."""


class SourceChangedError(FreshlineError):
    """The log does not continue what the copies were made from: a new epoch is needed."""


class NotOpenError(FreshlineError):
    """A client was used before it was opened or after it was closed."""
