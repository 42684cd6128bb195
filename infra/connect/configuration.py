"""What Debezium's connector is configured to be: pure, from the catalog and what the operator set.

Two lists keep what is not in the catalog inside the database: the publication's column list (Postgres does not even
send the other columns) and ``column.include.list`` here, which also holds for the initial snapshot and for tables whose
whole rows are published.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from schemas.catalog import Catalog
from schemas.debezium import VALUE_FORMS
from schemas.errors import CatalogError

CONNECTOR_CLASS = "io.debezium.connector.postgresql.PostgresConnector"
# Its changes travel like those of any table, so the newest one to arrive says how old everything else may be.
HEARTBEAT_TABLE = "freshline.heartbeat"
HEARTBEAT_QUERY = (
    "INSERT INTO freshline.heartbeat (id, beat_at) VALUES (1, now()) ON CONFLICT (id) DO UPDATE SET beat_at = now()"
)
_NOT_PLAIN = re.compile(r"([^A-Za-z0-9_])")


class DatabaseAddress(msgspec.Struct, frozen=True):
    """The database as Kafka Connect reaches it, which may be by another name than we do.

    ``password`` may be a reference that a config provider of the workers resolves (``${file:/secrets/db:password}``).
    """

    host: str
    port: int
    database: str
    user: str
    password: str | None = None
    sslmode: str = "prefer"
    ssl_root_cert: str | None = None


class ConnectorTuning(msgspec.Struct, frozen=True):
    """Figures that trade latency for work. Sizes are in records where the name does not say bytes.

    Attributes:
        poll_interval_ms: how long Debezium sleeps before it asks Postgres again that had nothing; each millisecond
            costs that much latency, and the fewer there are the more of a core an idle task takes.
        linger_ms: how long the producer waits for company; 0 sends at once.
        max_batch_size: the task waits for that many records until the poll interval is over, so with 1 each is handed
            over at once. The producer makes batches of its own, so many records are no slower for it.
        largest_record_bytes: a row whose event is larger stops the connector.
    """

    poll_interval_ms: int = 2
    linger_ms: int = 0
    max_batch_size: int = 1
    max_queue_size: int = 32_768
    producer_batch_bytes: int = 262_144
    largest_record_bytes: int = 20 * 1024 * 1024
    heartbeat_interval_ms: int = 5_000


def connector_configuration(
    catalog: Catalog,
    address: DatabaseAddress,
    *,
    topic_prefix: str,
    publication: str,
    slot: str,
    tuning: ConnectorTuning,
    overrides: Mapping[str, str],
) -> dict[str, str]:
    """The connector's whole configuration.

    Args:
        catalog: the tables that are followed.
        address: the database as Kafka Connect reaches it.
        topic_prefix: the first part of the tables' topics.
        publication: what may be read.
        slot: from where it is read.
        tuning: figures that trade latency for work.
        overrides: settings of Debezium, Connect or its producer that the operator wants otherwise.
    """
    config = {
        "connector.class": CONNECTOR_CLASS,
        "tasks.max": "1",
        "database.hostname": address.host,
        "database.port": str(address.port),
        "database.dbname": address.database,
        "database.user": address.user,
        "database.password": address.password or "",
        "database.sslmode": address.sslmode,
        "topic.prefix": topic_prefix,
        "plugin.name": "pgoutput",
        "publication.name": publication,
        "publication.autocreate.mode": "disabled",
        "slot.name": slot,
        "slot.drop.on.stop": "false",
        "table.include.list": _regular([*(table.qualified_name for table in catalog.tables), HEARTBEAT_TABLE]),
        "column.include.list": _regular(
            [
                *(f"{table.qualified_name}.{column.name}" for table in catalog.tables for column in table.columns),
                *(f"{HEARTBEAT_TABLE}.{column}" for column in ("id", "beat_at")),
            ]
        ),
        # Documents are indexed from the snapshot; entries are not made from it.
        "snapshot.mode": "initial",
        # A TRUNCATE is a change too, and would be left out by default.
        "skipped.operations": "none",
        # What somebody says by pg_logical_emit_message would go to a topic that nobody made, and wait there for ever.
        "message.prefix.exclude.list": ".*",
        # For compacted topics. Ours keep every record for a while, and a record without a value is a dead letter.
        "tombstones.on.delete": "false",
        # A record that can't be converted stops the connector: leaving it out would leave a stale copy.
        "errors.tolerance": "none",
        "heartbeat.interval.ms": str(tuning.heartbeat_interval_ms),
        "heartbeat.action.query": HEARTBEAT_QUERY,
        "poll.interval.ms": str(tuning.poll_interval_ms),
        "max.batch.size": str(tuning.max_batch_size),
        "max.queue.size": str(tuning.max_queue_size),
        "producer.override.linger.ms": str(tuning.linger_ms),
        "producer.override.batch.size": str(tuning.producer_batch_bytes),
        "producer.override.max.request.size": str(tuning.largest_record_bytes),
        **VALUE_FORMS,
    }
    if address.ssl_root_cert is not None:
        config["database.sslrootcert"] = address.ssl_root_cert
    return config | dict(overrides)


def heartbeat_topic(topic_prefix: str) -> str:
    """The topic of Debezium's own heartbeats, which it sends by its clock: also while Postgres tells it nothing."""
    return f"__debezium-heartbeat.{topic_prefix}"


def _regular(names: Iterable[str]) -> str:
    expressions = []
    for name in names:
        if "," in name:
            raise CatalogError(f"{name!r} has a comma, which Debezium's lists can't hold. Rename it or unlist it.")
        expressions.append(_NOT_PLAIN.sub(r"\\\1", name))
    return ",".join(expressions)
