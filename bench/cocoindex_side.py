"""The same work by CocoIndex: the same passages, the same model, into the same Qdrant, with all of them new.

The package does not belong to the project. ``uv run --with`` lays it over this interpreter's own environment, so the
script (``cocoindex_flow``) has our torch, model and Qdrant client, and nothing large is installed twice. Passages are
given as they are: CocoIndex reads no Postgres and splits no text here, and what it has to wait for is the model, its
own state, and Qdrant.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.uv import uv_program
from infra.configuration import load_settings
from infra.embedding.models import find_model
from infra.settings import DEFAULT_MODEL

_VERSION: Final = "1.0.26"
# It brings one of its own otherwise, which would hide the one that our torch was tried with.
_KEPT: Final = "numpy"
_ROOT: Final = Path(__file__).parents[1]
_TIMEOUT_S: Final = 3_600.0


class Task(msgspec.Struct, frozen=True):
    """What CocoIndex is to index.

    Attributes:
        documents: each with its passages.
        model: where it is.
        device: it runs on; None to let it choose.
        qdrant_url: of the server that is written to.
        collection: that is made there, and deleted afterwards.
        state: the folder in which CocoIndex remembers what it did.
    """

    documents: Sequence[tuple[str, Sequence[str]]]
    model: str
    device: str | None
    qdrant_url: str
    collection: str
    state: str


def documents_per_s(passages_by_document: Sequence[tuple[str, Sequence[str]]], qdrant_url: str) -> float | None:
    """How many documents a second CocoIndex indexes; None, and a line why, where it can't be had.

    Takes minutes and blocks. The model is loaded and warm before the clock starts.

    Args:
        passages_by_document: a name for each document, and its passages in their order.
        qdrant_url: of a server; a collection of its own is made there, and deleted afterwards.
    """
    command = _command()
    if command is None:
        print("CocoIndex is left out: there is no uv.")
        return None
    embedding = load_settings().embedding
    model = find_model(DEFAULT_MODEL, embedding.folder)
    environment = {**os.environ, "COCOINDEX_DISABLE_USAGE_TRACKING": "1"}
    if Path(model).is_dir():
        environment["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory(prefix="freshline-cocoindex-") as state:
        collection = f"cocoindex-{uuid.uuid4().hex}"
        task = Task(passages_by_document, model, embedding.device, qdrant_url, collection, state)
        try:
            done = subprocess.run(
                command,
                input=msgspec.json.encode(task),
                capture_output=True,
                cwd=_ROOT,
                env=environment,
                timeout=_TIMEOUT_S,
                check=True,
            )
            seconds = float(done.stdout.split()[-1])
        except subprocess.CalledProcessError as error:
            print(f"CocoIndex is left out: {_last_line(error.stderr)}")
            return None
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
            print(f"CocoIndex is left out: {error!r}")
            return None
    return len(passages_by_document) / seconds


def _command() -> list[str] | None:
    """How to run the script with the package; None where there is no way."""
    uv = uv_program()
    if uv is None:
        return None
    kept = f"{_KEPT}=={importlib.metadata.version(_KEPT)}"
    return [
        *(uv, "run", "--quiet", "--no-project", "--python", sys.executable),
        *("--with", f"cocoindex=={_VERSION}", "--with", kept),
        *("python", "-m", "bench.cocoindex_flow"),
    ]


def _last_line(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
