"""Whose servers the settings name."""

from __future__ import annotations

from infra.local.state import StateFile
from infra.settings import Settings


def is_of_local_stack(settings: Settings) -> bool:
    """Whether the database is the local stack's own, whose rows nobody misses."""
    endpoint = StateFile(settings.local.state_file).read().endpoints.get("postgres", {})
    return (endpoint.get("host"), endpoint.get("port")) == (settings.postgres.host, settings.postgres.port)
