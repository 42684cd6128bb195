"""Makes ``artifacts.lock``: ``python -m infra.local.lock_artifacts``. To be run when a version below changes."""

import sys
from pathlib import Path

from jgo.maven import MavenContext
from jgo.maven._core import Dependency

from infra.local.artifacts import LOCK_FILE, maven_context, sha256_of
from infra.settings import LocalSettings

KAFKA = "4.3.1"
DEBEZIUM = "3.6.1.Final"
LOG4J = "2.25.5"
POSTGRES = {"15": "15.19.0", "18": "18.4.0"}
POSTGRES_PLATFORMS = ("linux-amd64", "linux-arm64v8", "darwin-amd64", "darwin-arm64v8")

# Kafka is silent without a provider for its log interface.
LOGGING = (
    ("org.slf4j", "slf4j-api", "2.0.17"),
    ("org.apache.logging.log4j", "log4j-slf4j2-impl", LOG4J),
    ("org.apache.logging.log4j", "log4j-core", LOG4J),
)
JAVA_SETS = {
    "kafka": (
        ("org.apache.kafka", "kafka-clients", KAFKA),
        ("org.apache.kafka", "kafka_2.13", KAFKA),
        *LOGGING,
    ),
    "connect": (
        ("org.apache.kafka", "kafka-clients", KAFKA),
        # Named here, so that the older versions that Debezium asks for do not win over Kafka's own.
        ("org.apache.kafka", "connect-api", KAFKA),
        ("org.apache.kafka", "connect-transforms", KAFKA),
        ("org.apache.kafka", "connect-runtime", KAFKA),
        ("org.apache.kafka", "connect-json", KAFKA),
        ("io.debezium", "debezium-connector-postgres", DEBEZIUM),
        *LOGGING,
    ),
}

HEADER = """\
# The jars of the local stack: SHA-256, coordinates, the sets that hold it.
# Made by `make lock` (infra/local/lock_artifacts.py); not to be edited.
"""


def main() -> int:
    """Resolve every set, fetch its files and write the lock beside this module."""
    context = maven_context(LocalSettings())
    sets: dict[tuple[str, str, str], set[str]] = {}
    for name, coordinates in JAVA_SETS.items():
        for found in _resolve(context, coordinates):
            sets.setdefault(found, set()).add(name)
    for major, version in POSTGRES.items():
        for platform in POSTGRES_PLATFORMS:
            found = ("io.zonky.test.postgres", f"embedded-postgres-binaries-{platform}", version)
            sets[found] = {f"postgres-{major}-{platform}"}
    lines = []
    for (group, name, version), members in sorted(sets.items()):
        jar = context.project(group, name).at_version(version).artifact().resolve()
        lines.append(f"{sha256_of(jar)} {group}:{name}:{version} {','.join(sorted(members))}\n")
    Path(__file__).with_name(LOCK_FILE).write_text(HEADER + "".join(lines))
    return 0


def _resolve(context: MavenContext, coordinates: tuple[tuple[str, str, str], ...]) -> list[tuple[str, str, str]]:
    # Raw: as Maven does it. Else jgo takes each one's managed versions for all, and Debezium's hold Jersey back.
    wanted = [
        Dependency(context.project(group, name).at_version(version).artifact(), raw=True)
        for group, name, version in coordinates
    ]
    inputs, others = context.resolver.resolve(wanted)
    return [
        (found.groupId, found.artifactId, found.version)
        for found in (*inputs, *others)
        if found.scope in {None, "compile", "runtime"} and found.type == "jar"
    ]


if __name__ == "__main__":
    sys.exit(main())
