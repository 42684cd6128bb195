"""A plan is a list of steps: each one statement, and a sentence that says why."""

from __future__ import annotations

from collections.abc import Callable

import asyncpg
import msgspec

from schemas.errors import FreshlineError

LOCK_TIMEOUT_MS = 5_000


class StepFailedError(FreshlineError):
    """Postgres refused a step of a plan. What was done before it in the same transaction is undone."""


class Step(msgspec.Struct, frozen=True):
    """One statement.

    Attributes:
        sql: what is executed.
        why: what it is for, as a sentence.
        alone: it can't run in a transaction (CREATE INDEX CONCURRENTLY, dropping a slot).
        shown: what is printed in place of ``sql`` where that holds a secret.
    """

    sql: str
    why: str
    alone: bool = False
    shown: str | None = None

    def __str__(self) -> str:
        """The statement as it may be printed."""
        return self.shown if self.shown is not None else self.sql


class Plan(msgspec.Struct, frozen=True):
    """What would be done, in order, and what only a person can decide."""

    steps: tuple[Step, ...] = ()
    advice: tuple[str, ...] = ()


async def carry_out(connection: asyncpg.Connection, plan: Plan, done: Callable[[Step], None]) -> None:
    """Execute a plan: the steps that stand alone one by one, each run of the others in one transaction.

    A lock that an application holds is waited for briefly only, since whoever queues behind us would wait as well.

    Args:
        connection: of a user who may do all this.
        plan: what to do.
        done: called for each step when it is in effect.

    Raises:
        StepFailedError: names the step and what Postgres said.
    """
    for group in _groups(plan.steps):
        if group[0].alone:
            await _execute(connection, group[0])
        else:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
                for step in group:
                    await _execute(connection, step)
        for step in group:
            done(step)


def _groups(steps: tuple[Step, ...]) -> list[list[Step]]:
    groups: list[list[Step]] = []
    for step in steps:
        if groups and not step.alone and not groups[-1][0].alone:
            groups[-1].append(step)
        else:
            groups.append([step])
    return groups


async def _execute(connection: asyncpg.Connection, step: Step) -> None:
    try:
        await connection.execute(step.sql)
    except asyncpg.PostgresError as error:
        hint = {
            "55P03": "Another session holds a lock on it. Nothing of this transaction was done; run the command again.",
            "42501": "Run it as a superuser, or have one execute the statements that --dry-run prints.",
        }.get(error.sqlstate or "", "Nothing of this transaction was done; mend it and run the command again.")
        raise StepFailedError(f"{step} failed: {error.args[0]} ({error.sqlstate}). {hint}") from error
