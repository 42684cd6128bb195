"""How a service reads."""

from typing import Literal

from pydantic import Field

from infra.settings.section import Section


class ReaderSettings(Section):
    """How a service reads (``freshline.open``)."""

    # Whether it reads through the cache, around it, or both to compare them: for introducing it step by step.
    mode: Literal["cached", "bypass", "shadow"] = "cached"
    # What a process remembers at most, and for how long.
    l1_items: int = Field(1_000, ge=1)
    l1_ttl_s: float = Field(60.0, gt=0)
    # How long a command may take before Redis counts as away.
    redis_timeout_s: float = Field(0.5, gt=0)
    redis_connections: int = Field(16, ge=1)
    database_connections: int = Field(10, ge=1)
    # How many reads may be at Postgres at once where the cache can't answer, and how long others wait for their turn.
    database_limit: int = Field(10, ge=1)
    database_wait_s: float = Field(1.0, gt=0)
    # How long a call may take before Qdrant counts as away.
    qdrant_timeout_s: float = Field(0.5, gt=0)
    # A larger result of a query is not cached.
    query_limit_bytes: int = Field(256 * 1024, ge=1)


class AnswerSettings(Section):
    """How answers are cached by what their questions mean."""

    ttl_s: float = Field(3_600.0, gt=0)
    # How many a tenant keeps; the least recently used goes first.
    entries: int = Field(1_000, ge=1)
    # The least similarity (cosine) at which the guard is asked whether two questions mean the same.
    similarity: float = Field(0.85, gt=0, le=1)
    # How many cached questions are looked at for each that is asked.
    candidates: int = Field(8, ge=1)
    # The share of all questions that may be answered wrongly from the cache. With it, thresholds are learned for each
    # cached question from reports and comparisons; without it the similarity and the guard alone decide.
    error_rate: float | None = Field(None, gt=0, lt=1)
    # How long whoever produces an answer is waited for by others who ask the same.
    produce_wait_s: float = Field(10.0, gt=0)
    # After it whoever produces an answer is taken for dead.
    produce_lease_s: float = Field(60.0, gt=0)
    # A larger answer is not cached.
    limit_bytes: int = Field(256 * 1024, ge=1)
