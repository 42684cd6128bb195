"""The rules of the semantic index, and a small world around them: one document, its passages, refreshers, an answer.

A change of the document has a number, which is its position and the version of the text that it makes. A record asks
for the document to be refreshed up to a change; the text is read when the record is worked on. A passage is known by
its place, its stamp, and the version of the text that it is from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from tests.model.explorer import Result

INDEX_RULES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "stamps": "Passages and heads are written only over what has an older stamp.",
        "heads": "A search passes over what its document's head does not vouch for.",
        "head-last": "A head is written after the passages that it vouches for.",
        "read-when-visible": "The text is read only once the change can be seen.",
        "swept-by-stamp": "Only what is older than the head is swept.",
        "second-drop": "The tags are dropped once more when the passages have followed.",
        "drop-last": "They are dropped only after the head was written.",
        "doubt": "An answer is not stored while one of its tags lists documents that have yet to follow.",
        "generation-first": "An answer's generations are taken before its sources are searched.",
    }
)


class Point(NamedTuple):
    """A passage as it lies there."""

    stamp: int
    version: int


class Head(NamedTuple):
    """How many passages a document has, and up to which change."""

    stamp: int
    passages: int


class Refresher(NamedTuple):
    """A refresher and what it is about: nothing, or the steps to come of a record.

    ``version`` is of the text that it read, ``seen`` the head that its sweep goes by.
    """

    is_owner: bool
    record: int = 0
    todo: tuple[str, ...] = ()
    version: int = 0
    seen: Head | None = None


class Answer(NamedTuple):
    """Somebody who makes an answer: the generation that he took, and the oldest text that he was given."""

    todo: tuple[str, ...] = ("take", "search", "fill")
    generation: int = -1
    version: int = -1


class Cached(NamedTuple):
    """An answer that was stored."""

    generation: int
    version: int


class State(NamedTuple):
    """A moment. ``passages`` are how many each version of the text has, so it says, too, how many changes there are."""

    passages: tuple[int, ...]
    # Written to the log, visible on the primary, told to the caches by the first drop, followed by the index.
    logged: int = 0
    visible: int = 0
    told: int = 0
    followed: int = 0
    points: tuple[Point | None, ...] = (None, None)
    head: Head | None = None
    refreshers: tuple[Refresher, ...] = ()
    generation: int = 0
    # Whether the lists of what has yet to follow were kept all the time.
    has_lists: bool = True
    answer: Answer | None = None
    cached: Cached | None = None


def _indexed(passages: tuple[int, ...], *refreshers: Refresher) -> State:
    """The first version is in the index."""
    points = tuple(Point(0, 0) if place < passages[0] else None for place in range(max(passages)))
    return State(passages, points=points, head=Head(0, passages[0]), refreshers=refreshers, has_lists=False)


_OWNER: Final = Refresher(is_owner=True)
_OTHER: Final = Refresher(is_owner=False)
# Answers need one refresher, and refreshers in each other's way need no answers: together there are too many states.
INDEX_WORLDS: Final[Mapping[str, State]] = MappingProxyType(
    {
        "a text that grows and shrinks, and two refreshers": _indexed((1, 2, 1), _OWNER, _OTHER),
        "a text that shrinks and grows, and two refreshers": _indexed((2, 1, 2), _OWNER, _OTHER),
        "an answer, and a refresher": _indexed((1, 2, 0), _OWNER)._replace(answer=Answer(), has_lists=True),
    }
)
INDEX_SHOWN_IN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "stamps": "a text that shrinks and grows, and two refreshers",
        "heads": "a text that grows and shrinks, and two refreshers",
        "head-last": "a text that grows and shrinks, and two refreshers",
        "read-when-visible": "a text that grows and shrinks, and two refreshers",
        "swept-by-stamp": "a text that shrinks and grows, and two refreshers",
        "second-drop": "an answer, and a refresher",
        "drop-last": "a text that grows and shrinks, and two refreshers",
        "doubt": "an answer, and a refresher",
        "generation-first": "an answer, and a refresher",
    }
)


def explore_index(first: State, left_out: frozenset[str] = frozenset(), *, limit: int = 1_000_000) -> Result:
    """Every state that can be reached from this one, until a promise is broken or all are known."""
    origin: dict[State, tuple[State, str] | None] = {first: None}
    queue = deque([first])
    while queue:
        state = queue.popleft()
        for label, after in _steps(state, left_out):
            if after in origin:
                continue
            origin[after] = (state, label)
            if broken := _broken(after, left_out):
                return Result(len(origin), broken, _trace(origin, after))
            if len(origin) >= limit:
                return Result(len(origin), complete=False)
            queue.append(after)
    return Result(len(origin))


def _trace(origin: Mapping[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    labels: list[str] = []
    while (step := origin[state]) is not None:
        state, label = step
        labels.append(label)
    return tuple(reversed(labels))


# What is promised.


def _broken(state: State, left_out: frozenset[str]) -> str:
    found = _search(state, left_out)
    if any(version < state.followed for version in found):
        return f"a search gives version {min(found)} although the index has followed change {state.followed}"
    is_quiet = state.followed == state.visible == state.logged and not any(each.todo for each in state.refreshers)
    if is_quiet and found != (state.visible,) * state.passages[state.visible]:
        return f"at quiet a search gives versions {list(found)}, the database has {state.visible}"
    cached = state.cached
    if cached is None or cached.generation != state.generation:
        return ""
    given = f"an answer from version {cached.version} is given although"
    if cached.version < state.followed:
        return f"{given} the index has followed change {state.followed}"
    if state.has_lists and cached.version < state.told:
        return f"{given} change {state.told} was told"
    return ""


def _search(state: State, left_out: frozenset[str]) -> tuple[int, ...]:
    """The versions of the passages that a search finds."""
    vouched = len(state.points) if "heads" in left_out else state.head.passages if state.head is not None else 0
    return tuple(point.version for point in state.points[:vouched] if point is not None)


# What may happen.


def _steps(state: State, left_out: frozenset[str]) -> Iterator[tuple[str, State]]:
    if state.logged < len(state.passages) - 1:
        yield f"change {state.logged + 1} is logged", state._replace(logged=state.logged + 1)
    if state.visible < state.logged:
        yield f"change {state.visible + 1} is visible", state._replace(visible=state.visible + 1)
    if state.told < state.visible:
        # The invalidation of its event: under the sight rule, and after it a search is what it is.
        yield (
            f"the event of change {state.told + 1} drops the tags",
            state._replace(told=state.told + 1, generation=state.generation + 1),
        )
    if state.has_lists:
        yield "the lists of what has yet to follow are lost", state._replace(has_lists=False)
    for number, refresher in enumerate(state.refreshers):
        name = "the refresher" if refresher.is_owner else "another refresher"
        for label, after, changed in _refresh(state, refresher, left_out):
            others = (*changed.refreshers[:number], after, *changed.refreshers[number + 1 :])
            yield f"{name} {label}", changed._replace(refreshers=others)
    if state.answer is not None:
        yield from _make_answer(state, state.answer, left_out)


def _refresh(state: State, refresher: Refresher, left_out: frozenset[str]) -> Iterator[tuple[str, Refresher, State]]:
    if not refresher.todo:
        yield from _take(state, refresher, left_out)
        return
    step, *rest = refresher.todo
    on = refresher._replace(todo=tuple(rest))
    yield "is killed", Refresher(refresher.is_owner), state
    match step:
        case "read":
            yield f"reads version {state.visible}", _reading(state, on), state
        case "write 0" | "write 1":
            place = int(step[-1])
            yield f"writes passage {place}", on, _with_passage(state, on, place, left_out)
        case "head":
            yield "writes the head", on, _with_head(state, on, left_out)
        case "look":
            yield "looks what lies beyond the head", on._replace(seen=state.head), state
        case "sweep":
            yield "sweeps", on._replace(seen=None), state._replace(points=_swept(state, refresher.seen, left_out))
        case _:
            yield from _drop(state, on, left_out)


def _take(state: State, refresher: Refresher, left_out: frozenset[str]) -> Iterator[tuple[str, Refresher, State]]:
    todo = ("read", "write 0", "write 1", "head", "look", "sweep", "drop")
    if "head-last" in left_out:
        todo = ("read", "head", "write 0", "write 1", "look", "sweep", "drop")
    if "drop-last" in left_out:
        todo = ("read", "drop", "write 0", "write 1", "head", "look", "sweep")
    last = state.logged if "read-when-visible" in left_out else state.visible
    # The owner goes on from its watermark; whoever lost it may be at any record that there was.
    for record in range(state.followed + 1 if refresher.is_owner else 1, last + 1):
        yield f"takes the record of change {record}", refresher._replace(record=record, todo=todo), state


def _reading(state: State, on: Refresher) -> Refresher:
    if state.head is not None and state.head.stamp >= on.record:
        # It has followed already, so only the sweep and the drop may be missing.
        on = on._replace(todo=tuple(each for each in on.todo if each in {"look", "sweep", "drop"}))
    return on._replace(version=state.visible)


def _with_passage(state: State, on: Refresher, place: int, left_out: frozenset[str]) -> State:
    if place >= state.passages[on.version] or not _may_write(state.points[place], on.record, left_out):
        return state
    points = list(state.points)
    points[place] = Point(on.record, on.version)
    return state._replace(points=tuple(points))


def _with_head(state: State, on: Refresher, left_out: frozenset[str]) -> State:
    if not _may_write(state.head, on.record, left_out):
        return state
    return state._replace(head=Head(on.record, state.passages[on.version]))


def _may_write(lying: Point | Head | None, stamp: int, left_out: frozenset[str]) -> bool:
    return lying is None or "stamps" in left_out or lying.stamp < stamp


def _swept(state: State, seen: Head | None, left_out: frozenset[str]) -> tuple[Point | None, ...]:
    if seen is None:
        return state.points
    return tuple(
        None
        if place >= seen.passages and point is not None and (point.stamp < seen.stamp or "swept-by-stamp" in left_out)
        else point
        for place, point in enumerate(state.points)
    )


def _drop(state: State, on: Refresher, left_out: frozenset[str]) -> Iterator[tuple[str, Refresher, State]]:
    """In one step with the watermark, which refuses whoever builds on another one."""
    done = on._replace(record=0, version=0)
    if not on.is_owner or on.record <= state.followed:
        yield "is refused", done, state
        return
    generation = state.generation if "second-drop" in left_out else state.generation + 1
    yield "drops the tags once more", done, state._replace(followed=on.record, generation=generation)


def _make_answer(state: State, answer: Answer, left_out: frozenset[str]) -> Iterator[tuple[str, State]]:
    todo = answer.todo
    if todo == Answer().todo and "generation-first" in left_out:
        todo = ("search", "take", "fill")
    if not todo:
        yield "somebody else asks", state._replace(answer=Answer())
        return
    step, *rest = todo
    on = answer._replace(todo=tuple(rest))
    match step:
        case "take":
            yield "an answer's generation is taken", state._replace(answer=on._replace(generation=state.generation))
        case "search":
            # Nothing found is of the newest version that may have been indexed.
            found = _search(state, left_out) or (state.head.stamp if state.head is not None else 0,)
            yield "its sources are searched", state._replace(answer=on._replace(version=min(found)))
        case _:
            done = state._replace(answer=Answer(()))
            is_doubted = state.has_lists and state.followed < state.told and "doubt" not in left_out
            if answer.generation == state.generation and not is_doubted:
                done = done._replace(cached=Cached(answer.generation, answer.version))
            yield "it is stored", done
