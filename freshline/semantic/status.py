"""How the index is: its generations, what is in them, and how far they are compared with the database."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Literal

import msgspec
from redis.asyncio import Redis

from infra.qdrant.client import open_qdrant
from infra.qdrant.generations import Generations
from infra.qdrant.passages import PassageStore
from infra.redis.index_state import IndexState, Rebuild, Walk
from infra.settings import Settings

State = Literal["searched", "building", "paused", "failed", "retired", "beside"]


class WalkStatus(msgspec.Struct, frozen=True):
    """How far one table is compared with a generation: documents so far, of about so many."""

    compared: int
    total: int
    is_done: bool


class GenerationStatus(msgspec.Struct, frozen=True):
    """One generation.

    Attributes:
        name: of its collection.
        model: whose vectors it holds.
        dimension: how long they are.
        state: what becomes of it.
        documents: that are in it.
        passages: that are in it, those that lie beyond their document's head among them.
        walks: of its tables.
        retired_for_s: since when it is no longer searched, in seconds.
        failure: why it can't be made.
    """

    name: str
    model: str
    dimension: int
    state: State
    documents: int
    passages: int
    walks: Mapping[str, WalkStatus]
    retired_for_s: float | None = None
    failure: str | None = None


class IndexStatus(msgspec.Struct, frozen=True):
    """All generations, the one that is searched first; and the rebuild that was asked for, if there is one."""

    generations: list[GenerationStatus]
    rebuild: Rebuild | None


async def read_status(settings: Settings) -> IndexStatus:
    """Look at the index.

    Raises:
        SettingsError: a server has no address.
        FolderInUseError: Qdrant is a folder that another process has open.
        StoreUnavailableError: a store does not answer.
    """
    settings.require(["qdrant", "redis"])
    async with open_qdrant(settings.qdrant) as client, Redis.from_url(**settings.redis.client_arguments()) as redis:
        state = IndexState(redis, settings.namespace)
        generations = Generations(client, settings.namespace, settings.qdrant)
        walks, rebuild, retired = await state.walks(), await state.rebuild(), await state.retired()
        active = await generations.active()
        found: list[GenerationStatus] = []
        for each in await generations.all():
            documents, passages = await PassageStore(client, each).count()
            since_ms = retired.get(each.name)
            found.append(
                GenerationStatus(
                    each.name,
                    each.model,
                    each.dimension,
                    _state(each.name, active, rebuild, is_retired=since_ms is not None),
                    documents,
                    passages,
                    _walks(each.name, walks),
                    None if since_ms is None else time.time() - since_ms / 1000,
                    rebuild.failure if rebuild is not None and rebuild.generation == each.name else None,
                )
            )
    return IndexStatus(sorted(found, key=lambda each: each.state != "searched"), rebuild)


def _state(name: str, active: str | None, rebuild: Rebuild | None, *, is_retired: bool) -> State:
    if name == active:
        return "searched"
    if rebuild is not None and rebuild.generation == name:
        return "failed" if rebuild.failure else "paused" if rebuild.is_paused else "building"
    return "retired" if is_retired else "beside"


def _walks(generation: str, walks: Mapping[str, Walk]) -> dict[str, WalkStatus]:
    prefix = f"{generation}/"
    return {
        name.removeprefix(prefix): WalkStatus(walk.compared, walk.total, walk.is_done)
        for name, walk in sorted(walks.items())
        if name.startswith(prefix)
    }
