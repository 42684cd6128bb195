"""Finds what the settings name by its place in Python: the catalog, and how cached queries are run again.

Whoever runs Freshline brings tables and queries of their own.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final, TypeVar

from freshline.verification.derivations import Derivations
from infra.settings import Settings
from schemas.catalog import Catalog
from schemas.errors import SettingsError
from schemas.voiceassist import VOICEASSIST

T = TypeVar("T")

_REFERENCE_DERIVATIONS: Final = "freshline.reference.queries:DERIVATIONS"


def load_catalog(path: str) -> Catalog:
    """The catalog at ``package.module:NAME``.

    Raises:
        SettingsError: there is none.
    """
    return _load("catalog", path, Catalog)


def load_derivations(settings: Settings) -> Derivations:
    """How cached queries are run again: as the settings say, or as the reference application does with its own catalog.

    Raises:
        SettingsError: there is nothing of the kind where the settings say.
    """
    if settings.derivations is not None:
        return _load("derivations", settings.derivations, Derivations)
    if load_catalog(settings.catalog) is VOICEASSIST:
        return _load("derivations", _REFERENCE_DERIVATIONS, Derivations)
    return Derivations()


def _load(what: str, path: str, kind: type[T]) -> T:
    variable = f"FRESHLINE_{what.upper()}"
    module_name, colon, name = path.partition(":")
    if not colon:
        raise SettingsError(f"{variable} is {path!r}, which is not of the form 'package.module:NAME'.")
    try:
        found: Any = getattr(import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"{variable} is {path!r}, which can't be loaded: {error}.") from error
    if not isinstance(found, kind):
        raise SettingsError(
            f"{variable} is {path!r}, a {type(found).__name__} and not a {kind.__module__}.{kind.__name__}."
        )
    return found
