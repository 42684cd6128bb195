"""How what follows the log works, and how many do it."""

from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, model_validator

from infra.settings.section import Section

DEFAULT_MODEL: Final = "all-MiniLM-L6-v2"


class EmbeddingSettings(Section):
    """Which model says what a text means, and where it runs."""

    # A name (`all-MiniLM-L6-v2`, or one of the hub's) or the path of a folder that holds a model. Without one, the
    # model that the index was made with, and the default one for a new index.
    model: str | None = None
    # A folder that holds models by their names.
    folder: Path | None = None
    # `cpu`, `cuda`, `mps` …; without one the best that is there.
    device: str | None = None
    # Threads that compute on the CPU; without a number one for each core that the machine has, also where a quota or
    # other processes leave fewer. Waiting for each other, too many are slower than one.
    threads: int | None = Field(None, ge=1)


class TopicSettings(Section):
    """How the topics are made. A topic of a table can't get other partitions later without breaking its keys' order."""

    partitions: int = Field(8, ge=1)
    replication_factor: int = Field(1, ge=1)
    min_insync_replicas: int = Field(1, ge=1)
    retention_hours: int = Field(7 * 24, ge=1)
    dead_letter_retention_hours: int = Field(30 * 24, ge=1)
    # The largest record of any of them. A row whose event is larger stops the connector.
    largest_record_bytes: int = Field(20 * 1024 * 1024, ge=1024 * 1024)


class WorkerSettings(Section):
    """How the workers of ``freshline run`` behave."""

    # Name of a static member, the pod's say: a restart within the session timeout then moves no partitions.
    instance: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]+$")
    # After how long a silent worker is taken for dead and its partitions go to others.
    session_timeout_s: float = Field(10.0, ge=1)
    # Where metrics and probes are served. Port 0 takes a free one, which the log names.
    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535)
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class StreamSettings(Section):
    """How edits of documents are coalesced before their texts are read and indexed."""

    # A document's edits are one refresh when there was none for so long …
    quiet_ms: int = Field(500, ge=1)
    # … or after so long, when they don't end.
    unrest_ms: int = Field(5_000, ge=1)

    @model_validator(mode="after")
    def _quiet_comes_first(self) -> Self:
        if self.unrest_ms < self.quiet_ms:
            raise ValueError("unrest_ms must not be shorter than quiet_ms")
        return self


class DemandSettings(Section):
    """How many workers of a role are asked for."""

    # A backlog is to be worked off within so many seconds.
    recovery_s: float = Field(60.0, gt=0)
    # The share of a worker's true rate that is planned with. Workers are let go where the others keep below the second.
    # Where the time that a record takes varies by a fifth and more, 0.80 and 0.75 are calmer.
    utilisation: float = Field(0.90, gt=0, le=1)
    relaxed_utilisation: float = Field(0.85, gt=0, le=1)
    # The fewest workers, and the most.
    floor: int = Field(1, ge=0)
    ceiling: int = Field(10, ge=1)

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if self.relaxed_utilisation > self.utilisation:
            raise ValueError("relaxed_utilisation must not be above utilisation")
        if self.floor > self.ceiling:
            raise ValueError("floor must not be above ceiling")
        return self


class LagSettings(Section):
    """What is watched for lag (`freshline lag`, `freshline run lag`), and what is late."""

    # Other consumer groups beside our own, by name; `*` stands for any characters.
    groups: tuple[str, ...] = ()
    # A watcher that does nothing for a minute passes for stuck.
    every_s: float = Field(5.0, gt=0, le=30)
    # A record that waits longer is late.
    lagging_s: float = Field(30.0, gt=0)
    # A group whose place has not moved for so long, while more came, is stalled.
    stalled_s: float = Field(60.0, gt=0)
    # For every role of workers, and by its name what is different of one.
    demand: DemandSettings = DemandSettings()
    demand_of: dict[str, DemandSettings] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _roles_differ_from_all(cls, values: Any) -> Any:
        if not (isinstance(values, dict) and isinstance(values.get("demand_of"), dict)):
            return values
        common, roles = _given(values.get("demand", {})), values["demand_of"]
        if not isinstance(common, dict):
            return values
        given = {role: _given(own) for role, own in roles.items()}
        merged = {role: common | own if isinstance(own, dict) else own for role, own in given.items()}
        return values | {"demand_of": merged}


def _given(demand: Any) -> Any:
    return demand.model_dump(exclude_unset=True) if isinstance(demand, DemandSettings) else demand
