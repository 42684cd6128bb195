"""The reference application's load: what it knows, what it makes, and how cached queries are found by their keys."""

from __future__ import annotations

from collections import Counter
from random import Random
from types import SimpleNamespace

import pytest

from freshline.catalogs import load_derivations
from freshline.reference.changes import KINDS, WEIGHTS
from freshline.reference.population import Ids
from freshline.reference.queries import DERIVATIONS
from freshline.reference.values import Values
from freshline.trial.freshness import quantile
from freshline.verification.derivations import Derivations
from infra.settings import Settings
from schemas.errors import SettingsError

SESSION = SimpleNamespace()


def test_each_kind_of_change_has_a_weight() -> None:
    assert WEIGHTS.keys() == KINDS.keys()


def test_popular_rows_are_picked_by_zipfs_law() -> None:
    known, random = Ids(), Random(1)
    for row in range(1000):
        known.add(row)
    picked = Counter(known.popular(random) for _ in range(20_000))
    assert picked[0] > 1.5 * picked[1] > 2 * picked[4]
    assert len(picked) > 500


def test_a_removed_row_is_never_picked_again() -> None:
    known, random = Ids(), Random(1)
    for row in (1, 2, 3):
        known.add(row)
    for row in (1, 3, 3):
        known.remove(row)
    assert {known.any(random) for _ in range(10)} == {known.popular(random) for _ in range(10)} == {2}
    known.remove(2)
    assert known.any(random) is known.popular(random) is None


def test_the_same_seed_makes_the_same_values() -> None:
    one, two = (Values(Random("7"), largest_document_bytes=50_000) for _ in range(2))
    assert [one.document() for _ in range(5)] == [two.document() for _ in range(5)]
    assert all("\x00" not in one.text(30) for _ in range(100))


async def test_a_query_is_found_by_the_form_of_its_key() -> None:
    async def derive(_: object, values: object) -> bytes:
        return repr(values).encode()

    derivations = Derivations({"user:{id}:conversations": derive, "a:{x}:{y}:b": derive})
    assert await derivations.derive(SESSION, "user:7:conversations") == b"{'id': '7'}"  # type: ignore[arg-type]
    assert await derivations.derive(SESSION, "a:1%3A2:3:b") == b"{'x': '1:2', 'y': '3'}"  # type: ignore[arg-type]
    for stranger in ("user:7", "user:7:conversations:2", "user:7:dashboard"):
        assert await derivations.derive(SESSION, stranger) is None  # type: ignore[arg-type]


def test_a_foreign_catalog_gets_no_derivations_of_ours() -> None:
    assert load_derivations(Settings()) is DERIVATIONS
    assert load_derivations(Settings(derivations="freshline.reference.queries:DERIVATIONS")) is DERIVATIONS
    with pytest.raises(SettingsError, match="FRESHLINE_DERIVATIONS"):
        load_derivations(Settings(derivations="freshline.reference.queries:ALL"))


def test_quantiles_are_values_that_occurred() -> None:
    assert quantile([], 0.5) is None
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([1.0], 0.99) == 1.0
