"""A core for one server alone, as it would have on a machine of its own.

On few cores the kernel takes a server off its core for others, and the time that it was away counts as its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from infra.local.processes import SERVICE_MARK, marked
from infra.local.stack import LocalStack


@contextmanager
def alone(stack: LocalStack, service: str) -> Iterator[None]:
    """Give one service the last core, and all others and this process, with whatever it starts, the rest.

    Does nothing where there is but one core, or where the system has no affinities.
    """
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) == 1:
        yield
        return
    every = os.sched_getaffinity(0)
    own = {max(every)}
    try:
        for process in marked(stack.folder):
            cores = own if process.environ().get(SERVICE_MARK) == service else every - own
            _pin([thread.id for thread in process.threads()], cores)
        _pin([0], every - own)
        yield
    finally:
        _pin([0, *(thread.id for process in marked(stack.folder) for thread in process.threads())], every)


def _pin(threads: list[int], cores: set[int]) -> None:
    for thread in threads:
        try:
            os.sched_setaffinity(thread, cores)
        except ProcessLookupError:  # it ended meanwhile
            continue
