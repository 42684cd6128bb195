"""Free ports of this machine."""

import random
import socket
from collections.abc import Collection

from schemas.errors import FreshlineError

HOST = "127.0.0.1"
# Below the ports that systems hand out to outgoing connections, so that none of those takes ours meanwhile.
FIRST_PORT = 17_000
LAST_PORT = 32_000
ATTEMPTS = 1_000
POLL_INTERVAL_S = 0.02


class NoFreePortError(FreshlineError):
    """No free port was found."""


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(taken: Collection[int] = ()) -> int:
    """A port that nothing listens on. At random, so that stacks that start at the same time hardly meet.

    Raises:
        NoFreePortError: a thousand were tried in vain.
    """
    for _attempt in range(ATTEMPTS):
        port = random.randint(FIRST_PORT, LAST_PORT)  # noqa: S311 - no secret
        if port not in taken and is_free(port):
            return port
    raise NoFreePortError(f"no port between {FIRST_PORT} and {LAST_PORT} is free on {HOST}")
