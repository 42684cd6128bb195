"""One document of the index beside what it should be: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from freshline.semantic.report import Fault, Finding
from infra.qdrant.passages import DocumentName, Head, Point, Vector
from schemas.passages import Passage, digest

# Less alike than this are no two vectors that one model made of one text, on whatever machine.
LEAST_COSINE = 0.999


class Truth(msgspec.Struct, frozen=True):
    """What the database says of a document; without passages where it has no text, or no row."""

    tenant: str | None = None
    passages: Sequence[Passage] = ()


class Seen(msgspec.Struct, frozen=True):
    """A document as searches see it.

    Attributes:
        head: its head, if it has one.
        visible: the points that searches may find, for any tenant.
        leftovers: how many points there are beside them.
    """

    head: Head | None
    visible: Sequence[Point]
    leftovers: int


def seen(head: Head | None, points: Sequence[Point]) -> Seen:
    """What searches see of a document: what its head vouches for."""
    until = 0 if head is None else head.passages
    visible = [point for point in points if _place(point) < until]
    return Seen(head, visible, len(points) - len(visible))


def faults(name: DocumentName, document: Seen, truth: Truth, position: int) -> Iterator[Finding]:
    """What is wrong with a document, its vectors apart.

    Args:
        name: of the document.
        document: as it was seen.
        truth: what the database said after that.
        position: of the database's log after that; no stamp can be newer.
    """

    def finding(fault: Fault, place: int | None, detail: str) -> Finding:
        return Finding(fault, name.table, name.key, place, detail)

    expected = dict(enumerate(truth.passages))
    has_surplus = False
    for point in document.visible:
        place = _place(point)
        passage = expected.get(place) if point.id == name.point(place) else None
        if passage is None:
            has_surplus = True
            yield finding(Fault.SURPLUS, place, "no such passage" if truth.passages else "no such document")
        elif wrong := ", ".join(_differing(point.payload, passage, truth.tenant)):
            yield finding(Fault.TEXT, place, wrong)
        if not 0 <= _number(point.payload.get("lsn")) <= position:
            yield finding(Fault.STAMP, place, f"{point.payload.get('lsn')} is beyond {position}")
    there = {point.id for point in document.visible}
    yield from (
        finding(Fault.MISSING, place, "not there" if document.head else "the document has no head")
        for place in expected
        if name.point(place) not in there
    )
    if document.head is None:
        return
    if document.head.passages > len(expected) and not has_surplus:
        yield finding(Fault.SURPLUS, None, f"its head says {document.head.passages} passages, not {len(expected)}")
    if expected and document.head.tenant != truth.tenant:
        yield finding(Fault.TEXT, None, "its head says another tenant")
    if document.head.lsn > position:
        yield finding(Fault.STAMP, None, f"{document.head.lsn} is beyond {position}")


def right_passage(name: DocumentName, point: Point, truth: Truth) -> Passage | None:
    """The passage that a point is, where its text is what it should be."""
    place = _place(point)
    if place >= len(truth.passages) or point.id != name.point(place):
        return None
    passage = truth.passages[place]
    return passage if point.payload.get("text") == passage.text else None


def vector_fault(name: DocumentName, point: Point, vector: Vector) -> Finding | None:
    """What is wrong with a point that should have this vector."""
    cosine = _cosine(point.vector, vector)
    if cosine >= LEAST_COSINE:
        return None
    detail = f"its cosine to the right one is {cosine:.3f}"
    return Finding(Fault.VECTOR, name.table, name.key, _place(point), detail)


def _differing(payload: Mapping[str, Any], passage: Passage, tenant: str | None) -> Iterator[str]:
    if payload.get("digest") != passage.digest:
        yield "another text"
    elif digest(str(payload.get("text"))) != passage.digest:
        yield "its text is not that of its digest"
    if payload.get("column") != passage.column:
        yield "another column"
    if payload.get("tenant") != tenant:
        yield "another tenant"


def _cosine(one: Vector | None, other: Vector) -> float:
    if one is None or len(one) != len(other):
        return float("nan")
    first, second = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    return float(first @ second / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-12))


def _place(point: Point) -> int:
    return _number(point.payload.get("place"))


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 1 << 62
