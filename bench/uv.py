"""Where uv is: beside this interpreter, or on the path. It runs packages that are compared with, and no dependency."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def uv_program() -> str | None:
    """Its path; None where there is none."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv")
