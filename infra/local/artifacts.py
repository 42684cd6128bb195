"""The jars of the local stack: which ones (``artifacts.lock``), fetched by jgo, each checked against its hash.

The lock was resolved once, by ``lock_artifacts``; a start only fetches what it lists, so that it resolves nothing and
gets the same bytes everywhere. What was fetched and checked is linked into the stack's own cache: a file that stands
there is whole, whatever happened to the download before it.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import requests
from jgo.maven import MavenContext
from jgo.maven._resolver import PythonResolver

from infra.local.progress import Progress
from infra.settings import LocalSettings
from schemas.errors import FreshlineError

LOCK_FILE = "artifacts.lock"
PARALLEL_DOWNLOADS = 8
DOWNLOAD_TIMEOUT_S = 60


class ArtifactError(FreshlineError):
    """A file that the local stack needs can't be had, or isn't what it should be."""


@dataclass(frozen=True)
class Artifact:
    """One jar, by its Maven coordinates, the hash of its bytes and the class paths that hold it."""

    group: str
    name: str
    version: str
    sha256: str
    sets: frozenset[str]

    @property
    def file_name(self) -> str:
        """The name under which it is kept."""
        return f"{self.name}-{self.version}.jar"


def read_lock() -> tuple[Artifact, ...]:
    """Every artifact that the lock lists."""
    text = files("infra.local").joinpath(LOCK_FILE).read_text()
    artifacts = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            sha256, coordinates, sets = line.split()
            group, name, version = coordinates.split(":")
            artifacts.append(Artifact(group, name, version, sha256, frozenset(sets.split(","))))
    return tuple(artifacts)


def postgres_set(version: str) -> str:
    """The set with Postgres of a major version for this machine.

    Raises:
        ArtifactError: there is none for its system or processor.
    """
    system = {"linux": "linux", "darwin": "darwin"}.get(sys.platform)
    processor = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64v8", "arm64": "arm64v8"}.get(
        platform.machine().lower(),
    )
    if system is None or processor is None:
        raise ArtifactError(
            f"no Postgres can be downloaded for {sys.platform} on {platform.machine()}: install one and set "
            "FRESHLINE_LOCAL__POSTGRES_BIN to the folder of its programs",
        )
    return f"postgres-{version}-{system}-{processor}"


@contextmanager
def exclusively(file: Path) -> Iterator[None]:
    """Hold a lock file while the block runs: stacks that start together share one cache."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def maven_context(settings: LocalSettings, resolver: PythonResolver | None = None) -> MavenContext:
    """Where jgo looks for jars: Maven's own local repository, then the settings' mirror or the public repository."""
    home_cache = settings.maven_cache
    if home_cache is None and not os.access(Path.home(), os.W_OK):
        home_cache = settings.cache_folder / "maven"
    remotes = {"mirror": settings.maven_mirror} if settings.maven_mirror else None
    return MavenContext(
        resolver=resolver,
        repo_cache=home_cache,
        remote_repos=remotes,
        timeout=DOWNLOAD_TIMEOUT_S,
    )


class ArtifactStore:
    """The checked artifacts in the cache of a clone. Its methods block: call them in a thread."""

    def __init__(self, settings: LocalSettings, progress: Progress) -> None:
        self._folder = settings.cache_folder / "artifacts"
        self._lock_file = settings.cache_folder / "artifacts.in-use"
        self._maven = maven_context(settings, PythonResolver(progress_callback=progress))

    def fetch(self, wanted: str) -> list[Path]:
        """The files of one set, in the lock's order; those that are missing are downloaded.

        Raises:
            ArtifactError: one can't be downloaded or its bytes are not the expected ones.
        """
        artifacts = [artifact for artifact in read_lock() if wanted in artifact.sets]
        if not artifacts:
            raise ArtifactError(f"{LOCK_FILE} lists nothing under {wanted}: run `make lock`")
        missing = [artifact for artifact in artifacts if not self._place(artifact).exists()]
        if missing:
            with exclusively(self._lock_file), ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
                list(pool.map(self._bring, missing))
        return [self._place(artifact) for artifact in artifacts]

    def _place(self, artifact: Artifact) -> Path:
        return self._folder / artifact.file_name

    def _bring(self, artifact: Artifact) -> None:
        place = self._place(artifact)
        if place.exists():  # another stack brought it while we waited for the lock
            return
        source = self._download(artifact)
        if sha256_of(source) != artifact.sha256:
            # What an interrupted download left behind looks just like this: once more, from the start.
            source.unlink()
            source = self._download(artifact)
        found = sha256_of(source)
        if found != artifact.sha256:
            source.unlink()
            raise ArtifactError(
                f"{artifact.file_name} is not what {LOCK_FILE} expects (its SHA-256 is {found}): the repository or "
                "the mirror it came from serves something else",
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = place.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        try:
            unfinished.hardlink_to(source)
        except OSError:  # another file system
            shutil.copyfile(source, unfinished)
        unfinished.rename(place)

    def _download(self, artifact: Artifact) -> Path:
        jar = self._maven.project(artifact.group, artifact.name).at_version(artifact.version).artifact()
        try:
            return jar.resolve()
        except (requests.RequestException, RuntimeError, OSError) as error:
            raise ArtifactError(
                f"{artifact.file_name} of {artifact.group} can't be downloaded: {error}; check the network, or set "
                "FRESHLINE_LOCAL__MAVEN_MIRROR",
            ) from error


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def class_path(jars: Sequence[Path]) -> str:
    """Jars as Java takes them."""
    return os.pathsep.join(str(jar.absolute()) for jar in jars)
