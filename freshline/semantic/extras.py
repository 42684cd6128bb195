"""What the semantic side needs beyond the rest of Freshline."""

from __future__ import annotations

from schemas.errors import FreshlineError


class ExtrasMissingError(FreshlineError):
    """A package of the extra ``semantic`` is not installed."""


def extras_missing(error: ModuleNotFoundError) -> ExtrasMissingError:
    """Say which package is missing, and what brings it."""
    return ExtrasMissingError(
        f"The index of documents needs the package {error.name!r}: install freshline[semantic], and freshline[model] "
        "for a model that needs no download."
    )
