"""Server processes that outlive whoever started them, and how they are found again.

A process id alone says nothing, since the system gives it to others later. So each process carries the folder of its
stack in its environment, and is taken for ours only where id, start time and that mark agree. The mark also finds
those that no state file knows, because whoever started them died before writing it down.
"""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil

from infra.local.ports import POLL_INTERVAL_S
from schemas.errors import FreshlineError

STACK_MARK = "FRESHLINE_STACK_FOLDER"
SERVICE_MARK = "FRESHLINE_STACK_SERVICE"
START_TIME_TOLERANCE_S = 2.0
# An ended process stands in the system's list until its parent notices; some first processes of containers never do.
REAPING_GRACE_S = 1.0
LAST_LOG_LINES = 20

# What a server may inherit from our environment; the rest could change what it does.
INHERITED_VARIABLES = ("HOME", "PATH", "TMPDIR", "USER")


class ServiceFailedError(FreshlineError):
    """A server of the local stack did not come up, or a tool that prepares one failed."""


class ProcessMark(msgspec.Struct, frozen=True):
    """A process as the state file remembers it: its id, and when it began (seconds since 1970)."""

    pid: int
    started_at_s: float


@dataclass(frozen=True)
class Launch:
    """How one server is started: the command, where it runs, as whom, and what its environment adds."""

    command: Sequence[str | Path]
    folder: Path
    log_file: Path
    user: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


def spawn(launch: Launch, stack_folder: Path, service: str) -> ProcessMark:
    """Start a server in a session of its own, so that it lives on when we end."""
    launch.log_file.parent.mkdir(parents=True, exist_ok=True)
    with launch.log_file.open("ab") as log:
        process = subprocess.Popen(
            [str(part) for part in launch.command],
            cwd=launch.folder,
            env=_environment(launch) | {STACK_MARK: str(stack_folder), SERVICE_MARK: service},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=launch.user,
            group=_group_of(launch.user),
            extra_groups=None if launch.user is None else [],
        )
    mark = ProcessMark(process.pid, psutil.Process(process.pid).create_time())
    # It outlives this object on purpose: without a return code, the object complains when it goes.
    process.returncode = 0
    return mark


async def run_tool(launch: Launch, purpose: str) -> None:
    """Run a program that prepares a server, to its end; what it prints goes to the log file.

    Raises:
        ServiceFailedError: it failed; the message holds the end of its output.
    """
    launch.log_file.parent.mkdir(parents=True, exist_ok=True)
    with launch.log_file.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *[str(part) for part in launch.command],
            cwd=launch.folder,
            env=_environment(launch),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=asyncio.subprocess.STDOUT,
            user=launch.user,
            group=_group_of(launch.user),
            extra_groups=None if launch.user is None else [],
        )
        code = await process.wait()
    if code != 0:
        raise ServiceFailedError(f"{purpose} failed with exit code {code}; {log_tail(launch.log_file)}")


def find(mark: ProcessMark, stack_folder: Path) -> psutil.Process | None:
    """The process behind a mark, or ``None`` where it ended or its id belongs to another by now."""
    try:
        process = psutil.Process(mark.pid)
        if _ended(process) or abs(process.create_time() - mark.started_at_s) > START_TIME_TOLERANCE_S:
            return None
        environment = process.environ()
        # A process that just began a program has an empty environment for a moment: then id and start time must do.
        return process if not environment or environment.get(STACK_MARK) == str(stack_folder) else None
    except psutil.AccessDenied:  # its environment is another user's, so it isn't ours
        return None
    except psutil.NoSuchProcess:
        return None


def marked(stack_folder: Path, service: str | None = None) -> list[psutil.Process]:
    """Every living process that carries the mark of a stack (and of one of its services)."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            if (
                environment.get(STACK_MARK) == str(stack_folder)
                and service in {None, environment.get(SERVICE_MARK)}
                and process.pid != os.getpid()
                and not _ended(process)
            ):
                found.append(process)
        except psutil.Error:  # gone meanwhile, or not ours to look at
            continue
    return found


async def end(process: psutil.Process, gentle: signal.Signals, timeout_s: float) -> None:
    """Ask a process to end; after ``timeout_s`` kill it. Returns when it and its children are gone."""
    family = _family(process)
    _send(process, gentle)
    if not await _gone([process], timeout_s):
        _send(process, signal.SIGKILL)
    if not await _gone(family, timeout_s / 2):
        for member in family:
            _send(member, signal.SIGKILL)
    await _gone(family, timeout_s)
    if gentle != signal.SIGKILL:
        await _until(lambda: not any(psutil.pid_exists(member.pid) for member in family), REAPING_GRACE_S)


async def kill(process: psutil.Process, timeout_s: float) -> None:
    """Kill a process as a crash would: it alone. Returns when it and its children are gone."""
    await end(process, signal.SIGKILL, timeout_s)


def log_tail(log_file: Path, lines: int = LAST_LOG_LINES) -> str:
    """The last lines of a log and where it lies, for an error message."""
    try:
        text = log_file.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        text = []
    return f"the end of {log_file} reads:\n" + "\n".join(f"  {line}" for line in text)


def _environment(launch: Launch) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
    return inherited | {"LC_ALL": "C"} | dict(launch.environment)


def _group_of(user: str | None) -> int | None:
    if user is None:
        return None
    import pwd  # noqa: PLC0415 - absent where there is no such thing as a user

    return pwd.getpwnam(user).pw_gid


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return [process]


def _send(process: psutil.Process, what: signal.Signals) -> None:
    try:
        process.send_signal(what)
    except psutil.NoSuchProcess:
        return


async def _gone(processes: Sequence[psutil.Process], timeout_s: float) -> bool:
    return await _until(lambda: all(_ended(process) for process in processes), timeout_s)


async def _until(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_INTERVAL_S)
    return True


def _ended(process: psutil.Process) -> bool:
    try:
        if process.status() != psutil.STATUS_ZOMBIE:
            return not process.is_running()
    except psutil.NoSuchProcess:
        return True
    try:
        # A child of ours that ended waits for us to notice; it is gone once its last thread is.
        reaped, _ = os.waitpid(process.pid, os.WNOHANG)
    except ChildProcessError:
        return True
    return reaped == process.pid
