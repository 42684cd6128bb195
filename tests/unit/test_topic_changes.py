"""What is done to topics, and what is left to the operator."""

from __future__ import annotations

import msgspec

from freshline.source.topics import wanted_topics
from infra.kafka.topics import FoundTopic, Topic, changes, log_topic
from infra.settings import Settings
from schemas.voiceassist import VOICEASSIST

TOPIC = log_topic("va.public.users", partitions=8, replication_factor=3, retention_hours=1, in_sync=2, record_bytes=9)
FOUND = FoundTopic(8, 3, {**TOPIC.configs, "segment.ms": "1"}, {"segment.ms": "1"})


def due(found: FoundTopic | None, *, add_partitions: bool = False, topic: Topic = TOPIC) -> list[tuple[str, bool]]:
    present = {} if found is None else {topic.name: found}
    return [(change.text, change.due) for change in changes([topic], present, add_partitions=add_partitions)]


def test_a_topic_as_it_should_be_is_left_alone() -> None:
    assert due(FOUND) == []


def test_a_missing_topic_is_created() -> None:
    (change,) = changes([TOPIC], {}, add_partitions=False)
    assert change.create == TOPIC


def test_a_setting_is_mended_and_what_others_set_stays() -> None:
    drifted = msgspec.structs.replace(FOUND, configs={**FOUND.configs, "retention.ms": "5"})
    (change,) = changes([TOPIC], {TOPIC.name: drifted}, add_partitions=False)
    assert change.configs == {"segment.ms": "1", "retention.ms": "3600000"}
    assert change.text == "retention.ms 5 -> 3600000"


def test_partitions_are_added_only_on_demand_since_keys_would_move() -> None:
    fewer = msgspec.structs.replace(FOUND, partitions=4)
    ((text, is_due),) = due(fewer)
    assert not is_due
    assert "overtake" in text
    assert [is_due for _, is_due in due(fewer, add_partitions=True)] == [True]


def test_partitions_are_never_taken_away() -> None:
    assert [is_due for _, is_due in due(msgspec.structs.replace(FOUND, partitions=16), add_partitions=True)] == [False]


def test_every_table_has_its_topic_and_so_have_invalidations_dead_letters_and_heartbeats() -> None:
    assert [topic.name for topic in wanted_topics(Settings(), VOICEASSIST)] == [
        "va.public.users",
        "va.public.conversations",
        "va.public.messages",
        "va.public.documents",
        "freshline.invalidate",
        "freshline.semantic.refresh",
        "freshline.dead-letters",
        "__debezium-heartbeat.va",
        "va.freshline.heartbeat",
    ]


def test_the_newest_heartbeat_is_kept_however_long_no_other_comes() -> None:
    (beats,) = (topic for topic in wanted_topics(Settings(), VOICEASSIST) if topic.name == "va.freshline.heartbeat")
    assert beats.partitions == 1
    assert beats.configs["cleanup.policy"] == "compact"
    assert "retention.ms" not in beats.configs
