"""What a worker does about each kind of error: the one table. The unknown stops the process."""

from __future__ import annotations

import enum
from typing import Final

from schemas.errors import MalformedRecordError, SourceChangedError, StoreUnavailableError


class Action(enum.Enum):
    """What a worker does."""

    RETRY = "retry"
    DEAD_LETTER = "dead-letter"
    STOP = "stop"


TABLE: Final[tuple[tuple[type[BaseException], Action, str], ...]] = (
    (
        StoreUnavailableError,
        Action.RETRY,
        "See that Kafka, Postgres and Redis answer, and start again: nothing is lost.",
    ),
    (
        SourceChangedError,
        Action.RETRY,
        "No log is followed, or another one. Start again: an epoch begins by itself once there is one.",
    ),
    (MalformedRecordError, Action.DEAD_LETTER, "See `freshline dead-letters list`; mend the producer, then replay."),
)


def action_for(error: BaseException) -> Action:
    """What to do about it."""
    return next((action for kind, action, _ in TABLE if isinstance(error, kind)), Action.STOP)


def hint_for(error: BaseException) -> str:
    """What an operator can do about it."""
    return next(
        (hint for kind, _, hint in TABLE if isinstance(error, kind)),
        "Nothing is known to help: the process stops, and what it had not committed is done again.",
    )
