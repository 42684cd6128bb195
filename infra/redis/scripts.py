"""The protocol's Lua, read from its files: what ``_common.lua`` defines stands before every script."""

from __future__ import annotations

from importlib import resources
from typing import Final

NAMES: Final = (
    "answer_fill",
    "answer_look",
    "apply",
    "epoch",
    "fill",
    "generations",
    "invalidate",
    "lease",
    "query_fill",
    "query_lease",
    "witness",
)


def source(name: str) -> str:
    """The whole text of a script, as the server gets it."""
    folder = resources.files("infra.redis") / "scripts"
    return (folder / "_common.lua").read_text() + (folder / f"{name}.lua").read_text()
