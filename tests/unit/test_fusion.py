"""Several rankings become one."""

from __future__ import annotations

from freshline.semantic.fusion import fused, one_of_each
from infra.qdrant.passages import DocumentName, FoundPassage


def passage(
    number: int, similarity: float = 0.5, *, place: int = 0, text: str = "", table: str = "notes"
) -> FoundPassage:
    return FoundPassage(DocumentName(table, str(number)), place, "body", text, "1", 7, similarity)


def keys(passages: list[FoundPassage]) -> list[str]:
    return [each.document.key for each in passages]


def test_one_ranking_stays_as_it_is() -> None:
    ranking = [passage(n, 1 / n) for n in range(1, 9)]
    assert fused([ranking]) == ranking
    assert fused([[], ranking, []]) == ranking
    assert fused([]) == []


def test_what_is_in_both_rankings_comes_before_what_is_at_the_top_of_one() -> None:
    by_meaning = [passage(1, 0.9), passage(2, 0.8), passage(3, 0.7)]
    by_words = [passage(4, 0.1), passage(3, 0.7)]
    assert keys(fused([by_meaning, by_words])) == ["3", "1", "4", "2"]


def test_of_equal_ranks_the_nearer_comes_first_and_similarities_are_kept() -> None:
    outcome = fused([[passage(1, 0.3)], [passage(2, 0.6)]])
    assert [(each.document.key, each.similarity) for each in outcome] == [("2", 0.6), ("1", 0.3)]


def test_two_passages_of_one_document_and_documents_of_two_tables_are_told_apart() -> None:
    ranking = [passage(1), passage(1, place=1), passage(1, table="manuals")]
    assert len(fused([ranking, ranking])) == 3


def test_of_each_document_the_passage_with_the_most_words_is_taken_and_of_equal_ones_the_nearest() -> None:
    words = [
        passage(1, 0.9, place=0, text="About gardens."),
        passage(1, 0.2, place=3, text="Call number QX-7741b, in Ulm."),
        passage(2, 0.3, place=0, text="Ulm has a river."),
        passage(2, 0.4, place=1, text="The river of Ulm."),
    ]
    names = [DocumentName("notes", "2"), DocumentName("notes", "9"), DocumentName("notes", "1")]
    chosen = one_of_each(names, words, "qx 7741b in ULM")
    assert [(each.document.key, each.place) for each in chosen] == [("2", 1), ("1", 3)]


def test_endings_of_words_make_no_difference_and_digits_do() -> None:
    words = [
        passage(1, 0.9, place=0, text="Nothing."),
        passage(1, 0.1, place=1, text="All refunds are refunded."),
        passage(2, 0.9, place=0, text="Error 4711."),
        passage(2, 0.1, place=1, text="Error 4712."),
    ]
    assert [each.place for each in one_of_each([words[0].document], words, "refunding")] == [1]
    assert [each.place for each in one_of_each([words[2].document], words, "4712")] == [1]
