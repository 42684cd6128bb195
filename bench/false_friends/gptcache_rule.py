"""GPTCache's own rule, run by its own code: its default evaluation and threshold over the same model's vectors.

Its cache keeps normalised vectors in a flat index of Faiss, whose distance is the square of the Euclidean one, and
takes a match for a hit where ``SearchDistanceEvaluation`` gives at least ``similarity_threshold`` of its range
(``gptcache/adapter/adapter.py``). The package does not belong to the project: where it can't be imported it is had by
``uv run --with``, and where that fails too the same is computed by the formula, and the figures say so.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from bench.uv import uv_program

_PACKAGE: Final = "gptcache==0.1.44"
_TIMEOUT_S: Final = 170.0
_SCRIPT: Final = """
import json, sys
from gptcache.config import Config
from gptcache.similarity_evaluation.distance import SearchDistanceEvaluation
evaluation = SearchDistanceEvaluation()
low, high = evaluation.range()
threshold = min(high, max(low, (high - low) * Config().similarity_threshold))
ranks = [evaluation.evaluation({}, {"search_result": (distance, None)}) for distance in json.load(sys.stdin)]
print(json.dumps([threshold <= rank for rank in ranks]))
"""
_RANGE: Final = 4.0
_THRESHOLD: Final = 0.8


def hits(similarities: Sequence[float]) -> tuple[list[bool], str]:
    """Which of the matches are hits for GPTCache, and what said so: the package or the formula."""
    distances = [max(0.0, 2 - 2 * similarity) for similarity in similarities]
    command = _command()
    if command is not None:
        try:
            done = subprocess.run(
                command, input=json.dumps(distances), capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
            )
            return [bool(hit) for hit in json.loads(done.stdout.splitlines()[-1])], "the package"
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            pass
    return [_RANGE - min(distance, _RANGE) >= _RANGE * _THRESHOLD for distance in distances], "the formula alone"


def _command() -> list[str] | None:
    """How to run the script with the package; None where there is no way."""
    if importlib.util.find_spec("gptcache") is not None:
        return [sys.executable, "-c", _SCRIPT]
    uv = uv_program()
    if uv is None:
        return None
    return [
        uv,
        "run",
        "--no-project",
        "--isolated",
        "--python",
        sys.executable,
        "--with",
        _PACKAGE,
        "python",
        "-c",
        _SCRIPT,
    ]
