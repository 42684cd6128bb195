"""The hand-written pairs, and the half that each belongs to."""

from __future__ import annotations

import csv
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

PATH: Final = Path(__file__).with_name("pairs.tsv")


class Pair(msgspec.Struct, frozen=True):
    """Two questions.

    Attributes:
        kind: what makes them look alike, or how one was made of the other.
        same: whether an answer to one answers the other.
        is_development: whether the guard may be made to fit it.
    """

    kind: str
    a: str
    b: str
    same: bool
    is_development: bool


def pairs() -> list[Pair]:
    """All of them, in the order of the file."""
    with PATH.open(encoding="utf-8", newline="") as file:
        return [
            Pair(row["kind"], row["a"], row["b"], row["same"] == "true", _is_development(row["a"], row["b"]))
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        ]


def _is_development(a: str, b: str) -> bool:
    return blake2b(f"{a}\n{b}".encode(), digest_size=1).digest()[0] % 2 == 0
