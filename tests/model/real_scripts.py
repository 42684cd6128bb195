"""The real scripts on a real server, beside the rules: random interleavings, many in one round trip.

An interleaving is a namespace of its own and a random sequence of calls. What the rules say fixes every call
beforehand, so whole interleavings travel in one pipeline, and after each call its reply and everything that lies in
the namespace come back. The client speaks RESP by itself, for a driver would cost more than the scripts.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha1
from importlib import resources
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import hiredis
import msgspec

from schemas.entry import unpack
from tests.model.store import Entry, Outcome, Store

SCRIPTS: Final = ("apply", "epoch", "fill", "invalidate", "lease", "query_fill", "query_lease", "witness")
# Both sorted, as the rules have them.
ENTRIES: Final = ("q", "r", "s")
TAGS: Final = ("u1", "u2")
_STATE: Final = "state"
# A lease that has run out, which no call brings about: the test's own stand-in for time that passes.
_RUN_OUT: Final = """
local header = header_of(redis.call('GET', KEYS[1]), redis.call('HGET', KEYS[2], 'epoch'))
if header and header[2] == 'p' and header[9] > 0 then
  header[9] = 1
  redis.call('SET', KEYS[1], entry_of(header, ''), 'KEEPTTL')
end
return 1
"""
_RECEIVE_BYTES: Final = 1 << 18
_TIMEOUT_S: Final = 30
_END: Final = b"end"

Command = tuple[Any, ...]
_unpack_notice = msgspec.msgpack.Decoder(tuple[str, tuple[str, ...]]).decode


class Disagreement(AssertionError):  # noqa: N818 - what the test looks for
    """A script did not do what the rules say. The message tells the calls that led there."""


class Call(NamedTuple):
    """One call: what it is called in messages, its command, and what the rules say that it does."""

    label: tuple[Any, ...]
    command: Command
    outcome: Outcome


class Connection:
    """A plain connection that sends commands and reads replies."""

    def __init__(self, url: str) -> None:
        """Connect."""
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname or "localhost", parts.port or 6379), _TIMEOUT_S)
        self._reader = hiredis.Reader()

    def close(self) -> None:
        """Close."""
        self._socket.close()

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands; their replies must be read."""
        self._socket.sendall(b"".join(map(hiredis.pack_command, commands)))

    def read(self) -> Any:
        """The next reply."""
        while (reply := self._reader.gets()) is False:
            received = self._socket.recv(_RECEIVE_BYTES)
            if not received:
                raise ConnectionError("The server closed the connection.")
            self._reader.feed(received)
        return reply

    def run(self, commands: Sequence[Command]) -> Iterator[Any]:
        """Send commands and give their replies one by one, reading while the server still works."""
        self.send(commands)
        for _ in commands:
            yield self.read()


def sources(changes: Mapping[str, tuple[str, str]] | None = None) -> dict[str, str]:
    """The scripts' texts, with the first text of a pair replaced by the second one in those that are named.

    Raises:
        ValueError: the text to replace is not there exactly once.
    """
    folder = resources.files("infra.redis") / "scripts"
    common = (folder / "_common.lua").read_text()
    texts = {name: common + (folder / f"{name}.lua").read_text() for name in SCRIPTS}
    for name, (old, new) in (changes or {}).items():
        if texts[name].count(old) != 1:
            msg = f"{name}.lua holds {old!r} {texts[name].count(old)} times, not once: write the mutation anew."
            raise ValueError(msg)
        texts[name] = texts[name].replace(old, new)
    return texts | {"run_out": common + _RUN_OUT}


class Server:
    """A server with the scripts loaded, and a listener to its notices."""

    def __init__(self, url: str, changes: Mapping[str, tuple[str, str]] | None = None) -> None:
        """Connect twice and load the scripts."""
        texts = sources(changes)
        self._connection, self._listener = Connection(url), Connection(url)
        self.digests = {name: sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in texts.items()}
        for reply in self._connection.run([("SCRIPT", "LOAD", text) for text in texts.values()]):
            if isinstance(reply, Exception):
                raise reply
        self._listener.send([("PSUBSCRIBE", "*:notices")])
        self._listener.read()

    def close(self) -> None:
        """Close both connections."""
        self._connection.close()
        self._listener.close()

    def check(self, interleavings: Sequence[Sequence[Call]]) -> int:
        """Run interleavings, each in its namespace ``m<number>``, and compare after each call. Returns the calls.

        Raises:
            Disagreement: at the first difference.
        """
        commands: list[Command] = [("FLUSHDB",)]
        for number, calls in enumerate(interleavings):
            keys = [f"m{number}:{key}" for key in ENTRIES] + [f"m{number}:tag:{tag}" for tag in TAGS]
            looks: tuple[Command, Command] = (("HGETALL", f"m{number}:{_STATE}"), ("MGET", *keys))
            for call in calls:
                commands += (call.command, *looks)
        commands.append(("PUBLISH", f"{_END.decode()}:notices", _END))
        replies = self._connection.run(commands)
        next(replies)
        for calls in interleavings:
            for position, call in enumerate(calls):
                self._compare(calls, position, call, (next(replies), next(replies), next(replies)))
        next(replies)
        self._compare_notices(interleavings)
        return sum(map(len, interleavings))

    @staticmethod
    def _compare(
        calls: Sequence[Call], position: int, call: Call, replies: tuple[Any, list[bytes], list[bytes | None]]
    ) -> None:
        reply, state, values = replies
        found_reply, found = _reply(reply), _store(state, values)
        outcome = call.outcome
        if found_reply == outcome.reply and found == outcome.store:
            return
        msg = (
            f"After\n{_story(calls[: position + 1])}\nthe rules say {outcome.reply} and\n  {outcome.store}\n"
            f"but the script says {found_reply} and\n  {found}"
        )
        raise Disagreement(msg)

    def _compare_notices(self, interleavings: Sequence[Sequence[Call]]) -> None:
        found: dict[bytes, list[Any]] = {}
        while (message := self._listener.read())[3] != _END:
            found.setdefault(message[2], []).append(_unpack_notice(message[3]))
        for number, calls in enumerate(interleavings):
            expected = [notice for call in calls for notice in call.outcome.notices]
            heard = found.get(f"m{number}:notices".encode(), [])
            if heard != expected:
                msg = f"After\n{_story(calls)}\nthe rules publish {expected} but the scripts {heard}"
                raise Disagreement(msg)


def _story(calls: Sequence[Call]) -> str:
    return "\n".join("  " + " ".join(map(str, call.label)) for call in calls)


def _reply(reply: Any) -> tuple[Any, ...]:
    if isinstance(reply, Exception):
        return ("error", str(reply))
    if not isinstance(reply, list):
        return (reply,)
    if reply[0] == b"hit":
        return ("hit", _entry(reply[1]))
    if reply[0] == b"held":
        return ("held",)
    return tuple(part.decode() if isinstance(part, bytes) else part for part in reply)


# Calls leave most of what lies there as it was.
@lru_cache(maxsize=4096)
def _entry(raw: bytes) -> Entry:
    unpacked = unpack(raw)
    if unpacked is None:
        return Entry("unreadable", repr(raw))
    header, body = unpacked
    return Entry(
        header.kind,
        header.epoch,
        header.lsn,
        header.xid,
        (header.snapshot.xmax, header.snapshot.in_progress),
        header.completed,
        header.token,
        header.lease_until_ms > 1,
        header.format,
        msgspec.structs.astuple(header.origin),
        header.tags,
        body,
    )


def _store(state: Sequence[bytes], values: Sequence[bytes | None]) -> Store:
    count = len(ENTRIES)
    return Store(
        **_fields(tuple(state)),
        entries=tuple([(key, _entry(raw)) for key, raw in zip(ENTRIES, values, strict=False) if raw is not None]),
        tags=tuple([(tag, raw.decode()) for tag, raw in zip(TAGS, values[count:], strict=True) if raw is not None]),
    )


@lru_cache(maxsize=4096)
def _fields(state: tuple[bytes, ...]) -> dict[str, Any]:
    fields = {name.decode(): value.decode() for name, value in zip(state[::2], state[1::2], strict=True)}
    floors, marks = [], []
    for name, text in fields.items():
        if name.startswith("t:"):
            lsn, _, completed = text.partition(":")
            floors.append((name[2:], (int(lsn), int(completed))))
        elif name.startswith("w:"):
            marks.append((name, int(text)))
    return {
        "epoch": fields.get("epoch", ""),
        "floor": int(fields.get("floor", "0")),
        "identity": fields.get("identity", ""),
        "table_floors": tuple(sorted(floors)),
        "watermarks": tuple(sorted(marks)),
    }
