"""Random interleavings of the scripts: the calls, and what the rules say that each of them does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Final

import msgspec

from infra.redis import effects as real
from schemas.entry import LAYOUT, Header, Kind, Origin, pack
from schemas.wal import Snapshot
from tests.model import rules
from tests.model.real_scripts import ENTRIES, TAGS, Call, Command
from tests.model.store import Batch, Effect, Entry, Outcome, Store, drop, find, put

_TABLES: Final = ("t1", "t2")
_TABLE_OF: Final = {"r": "t1", "s": "t2"}
_ROWS: Final = ("r", "s")
_FIELDS: Final = ("w:g/t/0", "w:g/t/1")
_FORMATS: Final = ("f", "f", "f", "f2")
_LSNS: Final = 12
_XIDS: Final = 7
_LEASE_MS: Final = 1_000_000_000
_TTL_MS: Final = 60_000
_FLOOR_TTL_MS: Final = 120_000
_YOUNG_MS: Final = 1 << 50
_OLD_MS: Final = 1
_NO_OFFSET: Final = -1

_pack = msgspec.msgpack.Encoder().encode


class Interleaving:
    """One random interleaving under way: the state that the rules say, and who holds which lease."""

    def __init__(self, random: Random, namespace: str, digests: Mapping[str, str]) -> None:
        """Begin with an empty namespace."""
        self._random = random
        self._namespace = namespace
        self._digests = digests
        self._store = Store()
        self._tokens: dict[str, str] = dict.fromkeys(ENTRIES, "none")
        self._generations: tuple[str, ...] = ("none", "none")
        self._count = 0
        self.calls: list[Call] = []
        self._steps: Sequence[Callable[[], None]] = (
            *[self._apply] * 7,
            *[self._lease] * 5,
            *[self._fill] * 4,
            *[self._witness] * 3,
            *[self._query_lease] * 3,
            *[self._query_fill] * 3,
            *[self._invalidate] * 2,
            *[self._run_out] * 1,
            *[self._evict] * 1,
            self._epoch,
        )

    def run(self, steps: int) -> list[Call]:
        """Begin an epoch, nearly always, and take this many random steps."""
        if self._random.random() < 0.97:
            self._epoch()
        while len(self.calls) < steps:
            self._random.choice(self._steps)()
        return self.calls

    # How calls are written down.

    def _name(self) -> str:
        self._count += 1
        return f"{self._count}"

    def _add(self, label: tuple[Any, ...], command: Command, outcome: Outcome) -> None:
        self.calls.append(Call(label, command, outcome))
        self._store = outcome.store

    def _script(self, name: str, keys: Sequence[str], arguments: Sequence[Any], outcome: Outcome, *label: Any) -> None:
        full = [f"{self._namespace}:{key}" for key in keys]
        texts = [argument if isinstance(argument, bytes) else str(argument) for argument in arguments]
        self._add((name, *label), ("EVALSHA", self._digests[name], str(len(keys)), *full, *texts), outcome)

    def _snapshot(self) -> tuple[int, tuple[int, ...]]:
        xmax = self._random.randint(1, _XIDS)
        return xmax, tuple(xid for xid in range(1, xmax - 1) if self._random.random() < 0.3)

    def _lsn(self) -> int:
        return self._random.randint(1, _LSNS)

    # Workers.

    def _apply(self) -> None:
        random = self._random
        field = random.choice(_FIELDS)
        stored = find(self._store.watermarks, field)
        expected = _NO_OFFSET if stored is None else stored
        if random.random() < 0.1:
            expected = random.randint(-1, 3)
        epoch = self._store.epoch if random.random() < 0.95 else "other"
        young = random.random() < 0.9
        next_offset = max(expected, 0) + random.randint(0, 2)
        completed = random.randint(0, _XIDS)
        pairs = [self._effect(epoch) for _ in range(random.choice((0, 1, 1, 1, 2, 3)))]
        batch = Batch(field, expected, next_offset, epoch, completed, tuple(effect for effect, _ in pairs))
        sent = real.Batch(
            self._namespace,
            field,
            expected,
            next_offset,
            epoch,
            completed,
            _FLOOR_TTL_MS,
            _YOUNG_MS if young else _OLD_MS,
            [effect for _, effect in pairs],
        )
        outcome = rules.apply(self._store, batch, too_late=not young)
        self._script("apply", ["state"], [_pack(sent)], outcome, batch, "young" if young else "old")

    def _effect(self, epoch: str) -> tuple[Effect, real.Effect]:
        random = self._random
        what = random.choice("vvvvvaaxxtgn")
        if what == "t":
            table, lsn = random.choice(_TABLES), self._lsn()
            return ("t", table, lsn), real.table_changed(table, lsn)
        if what == "g":
            tag = random.choice(TAGS)
            return ("g", tag), real.drop_tag(tag)
        if what == "n":
            return ("n", "family:*"), real.notice("family:*")
        key = random.choice(_ROWS)
        table, lsn, xid = _TABLE_OF[key], self._lsn(), random.randint(1, _XIDS)
        if what == "x":
            lsn, xid = (lsn if random.random() < 0.8 else 0), (xid if random.random() < 0.7 else 0)
            return ("x", key, table, lsn, xid), real.uncacheable(key, table, lsn, xid)
        may_create = random.random() < 0.85
        body = b"" if what == "a" else f"row {lsn}".encode()
        origin = Origin("topic", 0, lsn, 1000 + lsn)
        kind: Kind = "a" if what == "a" else "v"
        header = Header(LAYOUT, kind, epoch, lsn, xid, format="f", origin=origin)
        entry = Entry(what, epoch, lsn, xid, format="f", origin=("topic", 0, lsn, 1000 + lsn), body=body)
        build = real.absent if what == "a" else real.value
        sent = build(key, table, lsn, xid, may_create=may_create, ttl_ms=_TTL_MS, entry=pack(header, body))
        return (what, key, table, lsn, xid, may_create, entry), sent

    def _epoch(self) -> None:
        random = self._random
        expected = self._store.epoch if random.random() < 0.9 else "other"
        new = self._store.epoch if self._store.epoch and random.random() < 0.3 else f"epoch{self._name()}"
        floor = random.choice((0, 0, 0, 2, 4, 1 << 52))
        identity = random.choice(("log", "log", "log", "another log"))
        marks = [(field, random.randint(0, 2)) for field in _FIELDS if random.random() < 0.7]
        outcome = rules.epoch(self._store, expected=expected, new=new, floor=floor, identity=identity, watermarks=marks)
        request = _pack((self._namespace, expected, new, floor, identity, marks))
        self._script("epoch", ["state"], [request], outcome, expected, new, floor, identity, marks)

    # Readers.

    def _lease(self) -> None:
        random = self._random
        key, fmt, token = random.choice(_ROWS), random.choice(_FORMATS), f"lease{self._name()}"
        write = (self._lsn(), random.randint(0, _XIDS)) if random.random() < 0.3 else (0, 0)
        outcome = rules.lease(self._store, key, _TABLE_OF[key], token=token, format=fmt, write=write)
        if outcome.reply == ("lease",):
            self._tokens[key] = token
        arguments = [_TABLE_OF[key], fmt, token, _LEASE_MS, *write]
        self._script("lease", [key, "state"], arguments, outcome, key, token, fmt, write)

    def _fill(self) -> None:
        random = self._random
        key, kind = random.choice(_ROWS), random.choice(("v", "v", "a"))
        token = self._tokens[key] if random.random() < 0.85 else random.choice((*self._tokens.values(), ""))
        snapshot = self._snapshot()
        completed = snapshot[0] - len(snapshot[1])
        body = b"" if kind == "a" else b"filled"
        outcome = rules.fill(
            self._store,
            key,
            _TABLE_OF[key],
            token=token,
            kind=kind,
            snapshot=snapshot,
            completed=completed,
            body=body,
            format="f",
        )
        arguments = [_TABLE_OF[key], token, kind, "f", _pack(Snapshot(*snapshot)), completed, _TTL_MS, body]
        self._script("fill", [key, "state"], arguments, outcome, key, token, kind, snapshot)

    def _witness(self) -> None:
        random = self._random
        key, kind = random.choice(_ROWS), random.choice(("v", "v", "a"))
        snapshot = self._snapshot()
        completed = snapshot[0] - len(snapshot[1])
        body = b"" if kind == "a" else b"witnessed"
        outcome = rules.witness(
            self._store,
            key,
            _TABLE_OF[key],
            kind=kind,
            snapshot=snapshot,
            completed=completed,
            body=body,
            format="f",
        )
        packed = _pack(Snapshot(*snapshot))
        arguments = [_TABLE_OF[key], kind, "f", packed, completed, _TTL_MS, _FLOOR_TTL_MS, body]
        self._script("witness", [key, "state"], arguments, outcome, key, kind, snapshot)

    def _query_lease(self) -> None:
        random = self._random
        tags = random.choice((TAGS, TAGS, TAGS, TAGS[::-1], TAGS[:1]))
        token, fmt = f"lease{self._name()}", random.choice(_FORMATS)
        fresh = [f"generation{self._name()}" for _ in tags]
        write = random.randint(0, _XIDS) if random.random() < 0.3 else 0
        outcome = rules.query_lease(
            self._store, "q", tags, token=token, generations=fresh, format=fmt, write_completed=write
        )
        if outcome.reply[0] == "lease":
            self._tokens["q"], self._generations = token, outcome.reply[1:]
        keys = ["q", "state", *(f"tag:{tag}" for tag in tags)]
        arguments = [fmt, token, _LEASE_MS, _TTL_MS, write, *fresh, *tags]
        self._script("query_lease", keys, arguments, outcome, tags, token, fresh, fmt, write)

    def _query_fill(self) -> None:
        random = self._random
        token = self._tokens["q"] if random.random() < 0.9 else random.choice(("none", ""))
        tags = TAGS[: len(self._generations)]
        generations = self._generations
        completed = random.randint(0, _XIDS)
        outcome = rules.query_fill(
            self._store,
            "q",
            tags,
            token=token,
            generations=generations,
            completed=completed,
            body=b"result",
            format="f",
        )
        keys = ["q", "state", *(f"tag:{tag}" for tag in tags)]
        arguments = [token, "f", completed, _TTL_MS, b"result", *generations, *tags]
        self._script("query_fill", keys, arguments, outcome, tags, token, generations, completed)

    # Writers.

    def _invalidate(self) -> None:
        random = self._random
        lsn, completed = self._lsn(), random.randint(0, _XIDS)
        keys = [(key, _TABLE_OF[key]) for key in _ROWS if random.random() < 0.7]
        tags = [tag for tag in TAGS if random.random() < 0.3]
        tables = [table for table in _TABLES if random.random() < 0.15]
        outcome = rules.invalidate(self._store, lsn=lsn, completed=completed, keys=keys, tags=tags, tables=tables)
        request = _pack((self._namespace, lsn, completed, _FLOOR_TTL_MS, keys, tags, tables))
        self._script("invalidate", ["state"], [request], outcome, lsn, completed, keys, tags, tables)

    # What happens by itself.

    def _evict(self) -> None:
        names = [(key, key) for key, _ in self._store.entries] + [(f"tag:{tag}", tag) for tag, _ in self._store.tags]
        if not names:
            return
        place, name = self._random.choice(names)
        after = self._store._replace(entries=drop(self._store.entries, name), tags=drop(self._store.tags, name))
        self._add((name, "is evicted"), ("DEL", f"{self._namespace}:{place}"), Outcome(after, (1,)))

    def _run_out(self) -> None:
        leased = [key for key, entry in self._store.entries if entry.leased and entry.epoch == self._store.epoch]
        if not leased:
            return
        key = self._random.choice(leased)
        entries = self._store.entries
        out = next(entry for name, entry in entries if name == key)._replace(leased=False)
        after = self._store._replace(entries=put(entries, key, out))
        self._script("run_out", [key, "state"], [], Outcome(after, (1,)), key)
