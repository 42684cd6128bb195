"""Finds the catalog that the settings name: whoever runs Freshline brings tables of their own."""

from __future__ import annotations

from importlib import import_module

from schemas.catalog import Catalog
from schemas.errors import SettingsError


def load_catalog(path: str) -> Catalog:
    """The catalog at ``package.module:NAME``.

    Raises:
        SettingsError: there is none.
    """
    module_name, colon, name = path.partition(":")
    if not colon:
        raise SettingsError(f"The catalog {path!r} is not of the form 'package.module:NAME'. Set FRESHLINE_CATALOG.")
    try:
        found = getattr(import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"The catalog {path!r} can't be loaded: {error}. Set FRESHLINE_CATALOG.") from error
    if not isinstance(found, Catalog):
        raise SettingsError(
            f"{path!r} is a {type(found).__name__}, not a schemas.catalog.Catalog. Set FRESHLINE_CATALOG."
        )
    return found
