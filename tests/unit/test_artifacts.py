"""A jar is used only when its bytes are the expected ones, whatever happened to the download before it."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.local import artifacts as module
from infra.local.artifacts import Artifact, ArtifactError, ArtifactStore, read_lock
from infra.local.progress import silent
from infra.settings import LocalSettings

BYTES = b"the jar"
PLACE = Path("org/example/thing/1.0/thing-1.0.jar")


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder without a word on standard error."""

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Path]:
    """A Maven repository with one jar, served to a store in the same folder."""
    jar = tmp_path / "repository" / PLACE
    jar.parent.mkdir(parents=True)
    jar.write_bytes(BYTES)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=tmp_path / "repository")) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        (tmp_path / "address").write_text(f"http://127.0.0.1:{server.server_port}")
        yield jar
        server.shutdown()
        thread.join()


@pytest.fixture
def store(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> ArtifactStore:
    """A store whose lock lists that jar alone."""
    expected = Artifact("org.example", "thing", "1.0", hashlib.sha256(BYTES).hexdigest(), frozenset({"things"}))
    monkeypatch.setattr(module, "read_lock", lambda: (expected,))
    mirror = (tmp_path / "address").read_text()
    assert repository.exists()
    settings = LocalSettings(folder=tmp_path / "local", maven_cache=tmp_path / "maven", maven_mirror=mirror)
    return ArtifactStore(settings, silent)


def test_a_jar_is_fetched_once(store: ArtifactStore, repository: Path) -> None:
    (first,) = store.fetch("things")
    repository.unlink()
    assert store.fetch("things") == [first]
    assert first.read_bytes() == BYTES


def test_what_an_interrupted_download_left_behind_is_fetched_again(store: ArtifactStore, tmp_path: Path) -> None:
    torn = tmp_path / "maven" / PLACE
    torn.parent.mkdir(parents=True)
    torn.write_bytes(BYTES[:3])
    (jar,) = store.fetch("things")
    assert jar.read_bytes() == BYTES


def test_a_jar_with_other_bytes_is_refused(store: ArtifactStore, repository: Path) -> None:
    repository.write_bytes(b"something else")
    with pytest.raises(ArtifactError, match=r"thing-1\.0\.jar is not what artifacts\.lock expects"):
        store.fetch("things")


def test_a_jar_that_is_nowhere_is_named(store: ArtifactStore, repository: Path) -> None:
    repository.unlink()
    with pytest.raises(ArtifactError, match=r"thing-1\.0\.jar of org\.example can't be downloaded"):
        store.fetch("things")


def test_the_lock_lists_postgres_for_every_platform_and_kafka_in_one_version() -> None:
    artifacts = read_lock()
    sets = {name for artifact in artifacts for name in artifact.sets}
    platforms = ("linux-amd64", "linux-arm64v8", "darwin-amd64", "darwin-arm64v8")
    assert {f"postgres-{version}-{platform}" for version in (15, 18) for platform in platforms} < sets
    assert len({artifact.version for artifact in artifacts if artifact.group == "org.apache.kafka"}) == 1
