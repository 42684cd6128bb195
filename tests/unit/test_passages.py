"""Passages: nothing is lost, none is too long, and an edit changes few of them."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalog import Indexed
from schemas.passages import passages_of, split

LIMIT = 512
WORDS = """policy travel doctor hours refund garden window process memory answer kitchen budget river monthly secure
quickly expense patient kettle engine lesson ticket summer market orange printer vendor safety notice""".split()  # noqa: SIM905


def sentences(rng: random.Random, count: int) -> list[str]:
    return [" ".join(rng.choices(WORDS, k=rng.randint(6, 18))).capitalize() + "." for _ in range(count)]


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


@given(st.text(max_size=3000))
def test_all_but_blanks_is_in_the_passages_whatever_the_script(text: str) -> None:
    assert squeezed("".join(split(text, 64))) == squeezed(text)


@given(st.text(max_size=3000), st.integers(64, 600))
def test_no_passage_is_blank_or_longer_than_the_limit(text: str, limit: int) -> None:
    for passage in split(text, limit):
        assert passage.strip()
        assert len(passage.encode()) <= limit


@pytest.mark.parametrize("text", ["", "   \n\n ", "\u3000\n"])
def test_a_blank_text_has_no_passage(text: str) -> None:
    assert list(split(text, LIMIT)) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("这是第一句。" * 40, 2),
        ("यह एक वाक्य है। " * 30, 2),
        ("هل هذا سؤال؟ " * 40, 2),
        ("ก" * 1000, 5),
        ("x" * 5000, 10),
    ],
)
def test_texts_without_blanks_or_full_stops_are_split_all_the_same(text: str, expected: int) -> None:
    assert len(list(split(text, LIMIT))) >= expected


@pytest.mark.parametrize("separator", [" ", "\n", "\n\n"])
def test_an_edit_of_one_sentence_changes_one_passage_or_two(separator: str) -> None:
    rng = random.Random(7)
    changed = []
    for _ in range(200):
        before = sentences(rng, 180)
        after = list(before)
        place = rng.randrange(len(after))
        words = after[place].split()
        words[rng.randrange(len(words) - 1)] = "replaced"
        after[place] = " ".join(words)
        old, new = (list(split(separator.join(text), LIMIT)) for text in (before, after))
        assert len(old) > 20
        changed.append(len([passage for passage in new if passage not in old]))
    assert sum(changed) / len(changed) < 2
    assert sorted(changed)[len(changed) * 9 // 10] <= 2


def test_a_paragraph_put_in_front_leaves_the_other_passages_as_they_are() -> None:
    rng = random.Random(3)
    text = "\n\n".join(" ".join(sentences(rng, 4)) for _ in range(50))
    old = list(split(text, LIMIT))
    new = list(split("A first paragraph, put in front of all the others.\n\n" + text, LIMIT))
    assert len([passage for passage in new if passage not in old]) <= 2


def test_each_column_is_split_by_itself_and_only_the_beginning_of_a_huge_text_is_kept() -> None:
    index = Indexed(columns=("title", "content"), tag="d:{id}", library="l", limit_bytes=2_000)
    found = passages_of({"title": "A title", "content": "word " * 10_000}, index)
    assert found[0].column == "title"
    assert found[0].text == "A title"
    assert {passage.column for passage in found[1:]} == {"content"}
    assert 1_900 <= sum(len(passage.text) + 1 for passage in found[1:]) <= 2_000
    assert passages_of({"title": None, "content": ""}, index) == []
