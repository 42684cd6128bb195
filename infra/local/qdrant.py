"""Qdrant's engine, from the wheel ``qdrant-edge-py``, behind its REST interface. Its data lie in the stack's folder."""

import asyncio
import importlib.util
import sys
from pathlib import Path
from typing import Any

from infra.local.artifacts import ArtifactError
from infra.local.ports import HOST
from infra.local.processes import Launch
from infra.local.service import Service

ANSWER_TIMEOUT_S = 1.0
ROOT = Path(__file__).resolve().parents[2]


class QdrantService(Service):
    """A server process of Qdrant's engine: what is written is there after a crash."""

    name = "qdrant"
    section = "qdrant"
    port_names = ("rest",)

    @property
    def endpoint(self) -> str:
        """The URL of its REST interface."""
        return f"http://{HOST}:{self.ports['rest']}"

    def endpoints(self) -> dict[str, Any]:
        """The section ``qdrant`` of the settings."""
        return {"url": self.endpoint}

    def fetch(self) -> None:
        """See that the engine is there.

        Raises:
            ArtifactError: it is not.
        """
        if importlib.util.find_spec("qdrant_edge") is None:
            raise ArtifactError("the wheel qdrant-edge-py is not installed: install freshline[local]")

    def launch(self) -> Launch:
        """How it is started."""
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "infra.local.qdrant_server",
            self.folder,
            str(self.ports["rest"]),
        ]
        return Launch(command, self.folder, self.log_file, environment={"PYTHONPATH": str(ROOT)})

    async def healthy(self) -> bool:
        """Whether it answers a probe."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(HOST, self.ports["rest"])
                try:
                    writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
                    return b" 200 " in await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False
