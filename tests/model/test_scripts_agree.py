"""The real scripts do what the model's rules say, in random interleavings; a changed script does not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from random import Random
from typing import Final

import pytest

from tests.model.interleavings import Interleaving
from tests.model.real_scripts import Disagreement, Server

RecordProperty = Callable[[str, object], None]

INTERLEAVINGS: Final = int(os.environ.get("FRESHLINE_MODEL_INTERLEAVINGS", "100000"))
STEPS: Final = 8
_AT_ONCE: Final = 250
_SEED: Final = 4242
# A change of a single decision is found long before this many.
_INTERLEAVINGS_OF_A_MUTANT: Final = 20_000

MUTATIONS: Final[Mapping[str, tuple[str, str, str]]] = {
    "an event at the entry's own position counts as new": ("apply", "lsn <= header[4])", "lsn < header[4])"),
    "a refused epoch is accepted": ("apply", "state[1] ~= epoch or ", ""),
    "any watermark will do": ("apply", " or tonumber(state[3] or '-1') ~= expected", ""),
    "an old event may create": ("apply", "may_create and waited_ms", "waited_ms"),
    "a batch that waited may create": ("apply", "waited_ms <= floor_ttl_ms - ttl_ms", "true"),
    "the table's floor does not forbid": ("apply", "and lsn > floor_lsn and", "and"),
    "the epoch's floor does not forbid": ("apply", " and lsn > epoch_floor", ""),
    "an event replaces the reader's snapshot": ("apply", "key, keep_snapshot(value, header)", "key, value"),
    "an event leaves a lease alone": ("apply", "header[2] ~= 'p' or header[8] ~= ''", "header[2] ~= 'p'"),
    "an event that only invalidates leaves no floor": (
        "apply",
        "  else\n    leave_floor(key, header, lsn)",
        "  else\n    redis.call('DEL', key)",
    ),
    "a dropped tag is not published": (
        "apply",
        "'DEL', namespace .. ':tag:' .. tag)\n  tell(tag)",
        "'DEL', namespace .. ':tag:' .. tag)",
    ),
    "truncation ignores sight": ("apply", "math.max(floor_completed, completed)", "floor_completed"),
    "running transactions count as seen": ("apply", "if running == xid then return false end", ""),
    "a lease drops the floor": ("lease", "floor, snapshot, completed = header[4]", "floor, snapshot, completed = 0"),
    "a lease is handed out twice": ("lease", "header[9] > now then", "false then"),
    "a token is not looked at": ("lease", "header[4] > write_lsn or header[7] >= write_completed", "true"),
    "a stale value is a hit": (
        "lease",
        "if live(header, floor_of(state[2])) then",
        "if header and header[2] ~= 'p' then",
    ),
    "any token fills": ("fill", " or header[8] ~= ARGV[2]", ""),
    "a fill may be older than a witness": ("fill", " or completed < header[7]", ""),
    "a fill may lack the truncation": ("fill", "completed < floor_completed or ", ""),
    "a witness replaces what it does not contain": ("witness", "if not is_contained then return 0 end", ""),
    "a witness goes back": ("witness", "if header[7] >= completed then return 0 end", ""),
    "a writer's floor goes back": ("invalidate", "math.max(lsn, header[4])", "lsn"),
    "a writer spares older values": ("invalidate", "header[7] >= completed)", "true)"),
    "a query's lease is handed out twice": ("query_lease", "header[9] > now then", "false then"),
    "a changed generation still hits": ("query_lease", " and tag[2] == generations[index]", ""),
    "a changed generation still fills": ("query_fill", "~= generation then", "== '' then"),
    "any token fills a query": ("query_fill", " or header[8] ~= ARGV[1]", ""),
    "an epoch begins over another": ("epoch", "if stored ~= expected then return {0, stored} end", ""),
    "an epoch forgets the tables' floors": ("epoch", "redis.call('HGET', KEYS[1], 'identity') ~= identity", "true"),
    "an epoch is not published": ("epoch", "publish(namespace, epoch, {})", ""),
}


def _check(server: Server, count: int) -> tuple[int, int]:
    """Run this many interleavings; how many ran and how many calls they were."""
    random = Random(_SEED)
    done = calls = 0
    while done < count:
        some = [Interleaving(random, f"m{number}", server.digests).run(STEPS) for number in range(_AT_ONCE)]
        calls += server.check(some)
        done += len(some)
    return done, calls


@pytest.mark.timeout(900)
def test_the_scripts_do_what_the_rules_say(
    empty_valkey: str, record_property: RecordProperty, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(empty_valkey)
    started = time.perf_counter()
    try:
        done, calls = _check(server, INTERLEAVINGS)
    finally:
        server.close()
    seconds = time.perf_counter() - started
    record_property("interleavings", done)
    record_property("calls", calls)
    with capsys.disabled():
        print(f"\n{done:,} interleavings ({calls:,} calls) agree, {done / seconds:,.0f}/s")  # noqa: T201
    assert done >= INTERLEAVINGS


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_changed_script_is_found(empty_valkey: str, mutation: str) -> None:
    script, old, new = MUTATIONS[mutation]
    server = Server(empty_valkey, {script: (old, new)})
    try:
        with pytest.raises(Disagreement):
            _check(server, _INTERLEAVINGS_OF_A_MUTANT)
    finally:
        server.close()
