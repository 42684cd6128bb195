"""Burrow, which looks at lag from outside, too: it reads the topic in which Kafka keeps what groups commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx

from infra.kafka.log import Partition
from infra.local.ports import HOST, free_port
from tests.k8s.processes import Processes

_CLUSTER: Final = "local"
# What Burrow says of itself as a reader of that topic.
_ITSELF: Final = f"burrow-{_CLUSTER}"
_CONFIGURATION: Final = """\
[general]
pidfile = "burrow.pid"

[client-profile.local]
client-id = "burrow"
kafka-version = "2.8.0"

[cluster.local]
class-name = "kafka"
servers = ["{kafka}"]
client-profile = "local"
offset-refresh = 1
topic-refresh = 1

[consumer.local]
class-name = "kafka"
cluster = "local"
servers = ["{kafka}"]
client-profile = "local"

[httpserver.local]
address = "{address}"

[storage.local]
class-name = "inmemory"
"""


class Said(NamedTuple):
    """Of a group in a partition."""

    messages: int
    status: str


class Burrow:
    """One that runs."""

    def __init__(self, url: str) -> None:
        self._url = url

    @property
    def has_caught_up(self) -> bool:
        """Whether it has read everything that was committed."""
        found = self._status(_ITSELF)
        return bool(found["partition_count"]) and found["totallag"] == 0

    def lag(self, group: str) -> Mapping[Partition, Said]:
        """What it says of a group: nothing where it does not know it."""
        found = self._status(group)["partitions"]
        return {
            Partition(each["topic"], each["partition"]): Said(each["current_lag"], each["status"]) for each in found
        }

    def _status(self, group: str) -> dict[str, Any]:
        response = httpx.get(f"{self._url}/v3/kafka/{_CLUSTER}/consumer/{group}/lag", trust_env=False)
        status: dict[str, Any] = response.json()["status"]
        return status


@contextmanager
def open_burrow(program: Path, kafka: str, folder: Path) -> Iterator[Burrow]:
    """Burrow beside this Kafka, once it answers."""
    processes, address = Processes(folder), f"{HOST}:{free_port()}"
    (folder / "burrow.toml").write_text(_CONFIGURATION.format(kafka=kafka, address=address))
    processes.start("burrow", str(program), f"--config-dir={folder}")
    url = f"http://{address}"
    try:
        processes.wait("burrow", lambda: httpx.get(f"{url}/burrow/admin/ready", trust_env=False).is_success)
        yield Burrow(url)
    finally:
        processes.end_all()
