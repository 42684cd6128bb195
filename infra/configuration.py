"""Reads the settings from where they may stand, and remembers for each value where it came from."""

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import EnvSettingsSource
from pydantic_settings.exceptions import SettingsError as SourceError

from infra.settings import ENDPOINT_FIELDS, ENVIRONMENT_PREFIX, LocalSettings, Settings
from schemas.errors import SettingsError

CONFIG_VARIABLE = ENVIRONMENT_PREFIX + "CONFIG"


@dataclass(frozen=True)
class Source:
    """One place with settings: its name as a person knows it, and its values as nested mappings."""

    name: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Configuration:
    """The settings, and the sources they were merged from, the strongest first."""

    settings: Settings
    sources: tuple[Source, ...]

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Every setting as (dotted name, value with secrets hidden, the place that it came from)."""
        for path, value in _leaves(self.settings):
            origin = next((source.name for source in self.sources if _holds(source.values, path)), "default")
            yield ".".join(path), _shown(value), origin


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: a value is missing its form; the message names each, never the value.
    """
    return load_configuration().settings


def load_configuration() -> Configuration:
    """As `load_settings`, with the origin of each value."""
    explicit = [_environment(), *_config_file()]
    sources = (*explicit, *_local_stack(explicit))
    merged: dict[str, Any] = {}
    for source in reversed(sources):
        merged = _merge(merged, source.values)
    try:
        return Configuration(Settings(**merged), sources)
    except ValidationError as error:
        raise SettingsError(f"the settings can't be used: {_complaints(error)}") from None


def _environment() -> Source:
    try:
        return Source("environment", EnvSettingsSource(Settings)())
    except SourceError as error:
        raise SettingsError(f"a setting in the environment can't be read: {error}") from error


def _config_file() -> Iterator[Source]:
    name = os.environ.get(CONFIG_VARIABLE)
    if not name:
        return
    try:
        yield Source(name, tomllib.loads(Path(name).read_text()))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"the file {name} that {CONFIG_VARIABLE} names can't be read: {error}") from error


def _local_stack(explicit: list[Source]) -> Iterator[Source]:
    for source in explicit:
        for section, fields in ENDPOINT_FIELDS.items():
            if any(_holds(source.values, (section, field)) for field in fields):
                return
    merged: dict[str, Any] = {}
    for source in reversed(explicit):
        merged = _merge(merged, source.values.get("local", {}))
    state_file = Path(merged.get("folder", LocalSettings().folder)) / "state.json"
    try:
        endpoints = json.loads(state_file.read_text()).get("endpoints", {})
    except FileNotFoundError:
        return
    except (OSError, ValueError, AttributeError) as error:
        raise SettingsError(
            f"the local stack's state {state_file} can't be read: {error}; run `freshline down` and `freshline up`",
        ) from error
    yield Source(f"local stack ({state_file})", endpoints)


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = _merge(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged


def _holds(values: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    place: Any = values
    for name in path:
        if not isinstance(place, Mapping) or name not in place:
            return False
        place = place[name]
    return True


def _leaves(model: BaseModel, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr):
        return "********"
    return "" if value is None else str(value)


def _complaints(error: ValidationError) -> str:
    # Neither the input nor its context is shown: it may be a secret.
    return "; ".join(f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
