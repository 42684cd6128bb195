"""How long things live, which the model leaves out: floors outlive whatever an older event could create."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest
import redis

from infra.redis import effects, scripts
from schemas.entry import LAYOUT, Header, pack
from schemas.wal import Snapshot

LEASE_MS: Final = 3_000_000
TTL_MS: Final = 60_000_000
FLOOR_TTL_MS: Final = 120_000_000
TAG_TTL_MS: Final = 240_000_000
# A run takes no longer than this.
_SLACK_MS: Final = 1_000_000
_SNAPSHOT: Final = Snapshot(5)
_pack = msgspec.msgpack.Encoder().encode


class _Namespace:
    """The scripts by name, in a namespace with an epoch."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.call("epoch", ["state"], _pack(("n", "", "e", 0, "log", [("w:g/t/0", 0)])))
        self._offset = 0

    def call(self, name: str, keys: list[str], *arguments: Any) -> Any:
        full = [f"n:{key}" for key in keys]
        return self._client.eval(scripts.source(name), len(full), *full, *arguments)

    def life_ms(self, key: str) -> int:
        """How long the key still lives, up to what a run may take; -1 for ever, -2 if there is none."""
        left = int(self._client.pttl(f"n:{key}"))
        return left if left < 0 else -(-left // _SLACK_MS) * _SLACK_MS

    def lease(self) -> Any:
        return self.call("lease", ["r", "state"], "t", "f", "lease", LEASE_MS, 0, 0)

    def fill(self) -> Any:
        return self.call("fill", ["r", "state"], "t", "lease", "v", "f", _pack(_SNAPSHOT), 5, TTL_MS, b"row")

    def witness(self, completed: int) -> Any:
        snapshot = _pack(Snapshot(completed))
        return self.call("witness", ["r", "state"], "t", "v", "f", snapshot, completed, TTL_MS, FLOOR_TTL_MS, b"row")

    def invalidate(self) -> Any:
        return self.call("invalidate", ["state"], _pack(("n", 10, 6, FLOOR_TTL_MS, [("r", "t")], [], [])))

    def event(self, *, may_create: bool) -> Any:
        entry = pack(Header(LAYOUT, "v", "e", 20, 9, format="f"), b"row")
        effect = effects.value("r", "t", 20, 9, may_create=may_create, ttl_ms=TTL_MS, entry=entry)
        expected, self._offset = self._offset, self._offset + 1
        batch = effects.Batch("n", "w:g/t/0", expected, self._offset, "e", 9, FLOOR_TTL_MS, 1 << 50, [effect])
        return self.call("apply", ["state"], _pack(batch))


@pytest.fixture
def namespace(empty_valkey: str) -> Iterator[_Namespace]:
    """A namespace with an epoch and nothing in it."""
    with redis.Redis.from_url(empty_valkey) as client:
        yield _Namespace(client)


def test_the_state_lives_for_ever(namespace: _Namespace) -> None:
    namespace.event(may_create=True)
    assert namespace.life_ms("state") == -1


def test_a_lease_over_nothing_lives_as_long_as_the_lease(namespace: _Namespace) -> None:
    assert namespace.lease() == [b"lease"]
    assert namespace.life_ms("r") == LEASE_MS


def test_values_live_as_long_as_entries_do(namespace: _Namespace) -> None:
    namespace.lease()
    assert namespace.fill() == 1
    assert namespace.life_ms("r") == TTL_MS
    assert namespace.witness(6) == 1
    assert namespace.life_ms("r") == TTL_MS
    namespace.event(may_create=True)
    assert namespace.life_ms("r") == TTL_MS


def test_a_lease_does_not_shorten_the_life_of_the_floor_beneath_it(namespace: _Namespace) -> None:
    namespace.invalidate()
    assert namespace.life_ms("r") == FLOOR_TTL_MS
    assert namespace.lease() == [b"lease"]
    assert namespace.life_ms("r") == FLOOR_TTL_MS


def test_what_a_witness_leaves_outlives_the_lease(namespace: _Namespace) -> None:
    namespace.lease()
    assert namespace.witness(6) == 1
    assert namespace.life_ms("r") == FLOOR_TTL_MS


def test_a_killed_lease_leaves_a_floor(namespace: _Namespace) -> None:
    namespace.lease()
    namespace.event(may_create=False)
    assert namespace.life_ms("r") == FLOOR_TTL_MS


def test_a_tag_outlives_the_results_under_it(namespace: _Namespace) -> None:
    keys = ["q", "state", "tag:u"]
    assert namespace.call("query_lease", keys, "f", "lease", LEASE_MS, TTL_MS, 0, "g", "u") == [b"lease", b"g"]
    assert namespace.life_ms("tag:u") == TTL_MS
    assert namespace.life_ms("q") == LEASE_MS
    assert namespace.call("query_fill", keys, "lease", "f", 5, TTL_MS, b"result", "g", "u") == 1
    namespace.call("query_lease", keys, "other", "lease2", LEASE_MS, TAG_TTL_MS, 0, "h", "u")
    assert namespace.life_ms("tag:u") == TAG_TTL_MS
