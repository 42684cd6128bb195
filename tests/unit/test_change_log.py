"""What a member of a group keeps to itself, and which errors of commits mean nothing."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, KafkaConnectionError

from infra.kafka.log import ChangeLog
from schemas.errors import NotOpenError, StoreUnavailableError

PARTITION = TopicPartition("t", 0)


class Consumer:
    """Has one partition, and fails to commit as the test says."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def assignment(self) -> set[TopicPartition]:
        """The one partition."""
        return {PARTITION}

    async def commit(self, offsets: Any) -> None:  # noqa: ARG002 - the driver's form
        """Fail."""
        raise self.error


def test_members_of_one_process_do_not_share_what_they_remember_of_their_partitions() -> None:
    first, second = (ChangeLog({}, group=group, topics=["t"]) for group in ("a", "b"))
    (remembers,), (knows_nothing,) = (log._options["partition_assignment_strategy"] for log in (first, second))
    remembers.member_assignment = [PARTITION]
    assert knows_nothing.member_assignment is None
    assert remembers.name == knows_nothing.name == "sticky"


async def test_a_commit_that_a_rebalance_overtook_is_no_failure_of_kafka() -> None:
    log = ChangeLog({}, group="g", topics=["t"])
    log._consumer = Consumer(CommitFailedError("rebalanced"))
    assert await log.commit({PARTITION: 1}) is False
    log._consumer = Consumer(KafkaConnectionError("away"))
    with pytest.raises(StoreUnavailableError):
        await log.commit({PARTITION: 1})
    assert await log.commit({TopicPartition("of another member", 0): 1}) is True


async def test_a_log_that_is_not_open_says_so() -> None:
    log = ChangeLog({}, group="g", topics=["t"])
    with pytest.raises(NotOpenError, match="async with"):
        await log.fetch(max_records=1, timeout_ms=1)
    with pytest.raises(NotOpenError, match="async with"):
        await log.bounds([PARTITION])
