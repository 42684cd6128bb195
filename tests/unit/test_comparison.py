"""A document of the index beside what it should be."""

from __future__ import annotations

from typing import Any

import pytest

from freshline.semantic.comparison import Truth, faults, right_passage, seen, vector_fault
from freshline.semantic.report import EXAMPLES, Fault, Finding, IndexReport
from infra.qdrant.passages import DocumentName, Head, Point
from schemas.passages import Passage

NAME = DocumentName("public.notes", "1")
TRUTH = Truth("7", (Passage("body", "One."), Passage("body", "Two.")))
POSITION = 100


def point(place: int, text: str, /, **changes: Any) -> Point:
    passage = Passage("body", text)
    payload = {
        "table": NAME.table,
        "key": NAME.key,
        "place": place,
        "tenant": "7",
        "lsn": 50,
        "column": "body",
        "text": text,
        "digest": passage.digest,
    }
    return Point(NAME.point(place), payload | changes, [1.0, 0.0])


RIGHT = [point(0, "One."), point(1, "Two.")]
HEAD = Head(50, 2, "7")


def found(points: list[Point], head: Head | None = HEAD, truth: Truth = TRUTH) -> list[tuple[Fault, int | None]]:
    return [(each.fault, each.place) for each in faults(NAME, seen(head, points), truth, POSITION)]


def test_a_right_document_has_no_faults() -> None:
    assert found(RIGHT) == []
    assert found([], None, Truth()) == []
    assert found([], Head(50, 0, None), Truth()) == []


def test_what_lies_beyond_the_head_is_a_leftover() -> None:
    document = seen(HEAD, [*RIGHT, point(2, "Late."), point(3, "Later.", place="x")])
    assert document.leftovers == 2
    assert list(faults(NAME, document, TRUTH, POSITION)) == []


@pytest.mark.parametrize(
    ("points", "head", "expected"),
    [
        (RIGHT[:1], HEAD, [(Fault.MISSING, 1)]),
        (RIGHT, None, [(Fault.MISSING, 0), (Fault.MISSING, 1)]),
        (RIGHT, Head(50, 1, "7"), [(Fault.MISSING, 1)]),
        ([*RIGHT, point(2, "More.")], Head(50, 3, "7"), [(Fault.SURPLUS, 2)]),
        (RIGHT, Head(50, 5, "7"), [(Fault.SURPLUS, None)]),
        (RIGHT, Head(50, 2, "8"), [(Fault.TEXT, None)]),
        (RIGHT, Head(101, 2, "7"), [(Fault.STAMP, None)]),
        ([RIGHT[0], point(1, "Two.", lsn=101)], HEAD, [(Fault.STAMP, 1)]),
        ([RIGHT[0], point(1, "Two.", lsn="x")], HEAD, [(Fault.STAMP, 1)]),
        ([RIGHT[0], point(1, "Other.")], HEAD, [(Fault.TEXT, 1)]),
        ([RIGHT[0], point(1, "Two.", text="Other.")], HEAD, [(Fault.TEXT, 1)]),
        ([RIGHT[0], point(1, "Two.", column="title")], HEAD, [(Fault.TEXT, 1)]),
        ([RIGHT[0], point(1, "Two.", tenant=None)], HEAD, [(Fault.TEXT, 1)]),
        ([RIGHT[0], point(1, "Two.", digest=None)], HEAD, [(Fault.TEXT, 1)]),
        ([*RIGHT, Point("another", RIGHT[0].payload)], HEAD, [(Fault.SURPLUS, 0)]),
    ],
)
def test_each_fault_is_found_where_it_is(
    points: list[Point], head: Head | None, expected: list[tuple[Fault, int | None]]
) -> None:
    assert found(points, head) == expected


def test_all_of_a_document_without_text_is_surplus() -> None:
    assert found(RIGHT, HEAD, Truth()) == [(Fault.SURPLUS, 0), (Fault.SURPLUS, 1)]


def test_vectors_may_differ_by_rounding_alone() -> None:
    assert vector_fault(NAME, RIGHT[0], [1.0, 0.001]) is None
    assert vector_fault(NAME, RIGHT[0], [2.0, 0.0]) is None
    for other in ([1.0, 0.1], [-1.0, 0.0], [0.0, 0.0], [1.0], [1.0, 0.0, 0.0]):
        fault = vector_fault(NAME, RIGHT[0], other)
        assert fault is not None
        assert (fault.fault, fault.place) == (Fault.VECTOR, 0)


def test_only_vectors_of_right_texts_are_compared() -> None:
    assert right_passage(NAME, RIGHT[1], TRUTH) == TRUTH.passages[1]
    assert right_passage(NAME, point(1, "Other."), TRUTH) is None
    assert right_passage(NAME, point(2, "Two."), TRUTH) is None
    assert right_passage(NAME, Point("another", RIGHT[1].payload), TRUTH) is None


def test_a_report_counts_all_and_shows_some() -> None:
    report = IndexReport("g", "m")
    assert report.is_good
    for number in range(3):
        report.find(tuple(Finding(Fault.MISSING, "t", str(number), place, "") for place in range(15)))
    assert (report.is_good, report.wrong, report.wrong_documents, len(report.examples)) == (
        False,
        {Fault.MISSING: 45},
        3,
        EXAMPLES,
    )
