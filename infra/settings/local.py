"""What a local stack is made of."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from infra.settings.section import Section


class LocalSettings(Section):
    """The local stack of ``freshline up`` and of the tests. A deployment brings its own servers instead."""

    folder: Path = Path(".local")
    # Downloads and unpacked binaries, shared by all stacks of a clone; in ``folder`` where it is not set.
    cache: Path | None = None
    # Where to look for jars before downloading them, and where to keep them: Maven's own local repository.
    maven_cache: Path | None = None
    # A mirror of the Maven repository, for networks that reach only their own.
    maven_mirror: str | None = None
    # The machine's own programs instead of the downloaded ones.
    postgres_bin: Path | None = None
    redis_server: Path | None = None
    java: Path | None = None

    postgres_version: Literal["15", "18"] = "18"
    # Whom Postgres runs as when we are root, whom it refuses.
    postgres_user: str = "nobody"
    postgres_options: dict[str, str] = Field(default_factory=dict)
    database: str = "voiceassist"
    valkey_max_memory: str = "512mb"
    kafka_heap_mb: int = Field(512, ge=128)
    connect_heap_mb: int = Field(512, ge=128)
    start_timeout_s: float = Field(90.0, gt=0)
    stop_timeout_s: float = Field(15.0, gt=0)

    @property
    def cache_folder(self) -> Path:
        """Where downloads and unpacked binaries lie."""
        return self.cache if self.cache is not None else self.folder / "cache"

    @property
    def state_file(self) -> Path:
        """Where the stack in ``folder`` remembers its ports and processes."""
        return self.folder / "state.json"
