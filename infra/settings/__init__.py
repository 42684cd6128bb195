"""All settings of Freshline in one typed place, validated once at start.

A value comes from the first of these that has it: the environment (``FRESHLINE_KAFKA__BOOTSTRAP_SERVERS``), the TOML
file that ``FRESHLINE_CONFIG`` names, the running local stack (its ``state.json``; only where neither of the first two
names an endpoint, so that a machine's own servers and the local ones are never mixed), the defaults below.
Secrets are ``SecretStr`` and may be given as a file (``FRESHLINE_POSTGRES__PASSWORD_FILE``).
"""

from collections.abc import Collection
from typing import Literal, Self

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from infra.settings.local import LocalSettings
from infra.settings.reading import AnswerSettings, ReaderSettings
from infra.settings.servers import ConnectSettings, KafkaSettings, PostgresSettings, QdrantSettings, RedisSettings
from infra.settings.work import (
    DEFAULT_MODEL,
    DemandSettings,
    EmbeddingSettings,
    LagSettings,
    StreamSettings,
    TopicSettings,
    WorkerSettings,
)
from schemas.errors import SettingsError

__all__ = [
    "DEFAULT_MODEL",
    "ENDPOINT_FIELDS",
    "ENVIRONMENT_PREFIX",
    "NESTED_DELIMITER",
    "AnswerSettings",
    "ConnectSettings",
    "DemandSettings",
    "EmbeddingSettings",
    "EndpointName",
    "KafkaSettings",
    "LagSettings",
    "LocalSettings",
    "PostgresSettings",
    "QdrantSettings",
    "ReaderSettings",
    "RedisSettings",
    "Settings",
    "StreamSettings",
    "TopicSettings",
    "WorkerSettings",
]

ENVIRONMENT_PREFIX = "FRESHLINE_"
NESTED_DELIMITER = "__"

EndpointName = Literal["kafka", "postgres", "redis", "connect", "qdrant"]

# The settings that say where a server is. One of them set by hand switches the local stack's endpoints off.
ENDPOINT_FIELDS: dict[EndpointName, tuple[str, ...]] = {
    "kafka": ("bootstrap_servers",),
    "postgres": ("dsn", "host", "socket_folder"),
    "redis": ("url",),
    "connect": ("url",),
    "qdrant": ("url", "folder"),
}


class Settings(BaseSettings):
    """Everything that can be set. Make it with ``infra.configuration.load_settings``, which names what is wrong."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter=NESTED_DELIMITER,
        extra="ignore",  # the environment holds names of others under the same prefix
        frozen=True,
    )

    # Where the catalog is: `package.module:NAME`.
    catalog: str = "schemas.voiceassist:VOICEASSIST"
    # Where the functions are that run cached queries again, so that their results can be verified:
    # `package.module:NAME` of a `freshline.verification.derivations.Derivations`.
    derivations: str | None = None
    # Prefix of every key in Redis.
    namespace: str = Field("freshline", pattern=r"^[a-z][a-z0-9_.-]*$")
    # Debezium's `topic.prefix`: the topics of the tables are `<topic_prefix>.<schema>.<table>`.
    topic_prefix: str = Field("va", pattern=r"^[A-Za-z0-9_-]+$")
    kafka: KafkaSettings = KafkaSettings()
    postgres: PostgresSettings = PostgresSettings()
    redis: RedisSettings = RedisSettings()
    connect: ConnectSettings = ConnectSettings()
    qdrant: QdrantSettings = QdrantSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    topics: TopicSettings = TopicSettings()
    worker: WorkerSettings = WorkerSettings()
    stream: StreamSettings = StreamSettings()
    reader: ReaderSettings = ReaderSettings()
    answers: AnswerSettings = AnswerSettings()
    lag: LagSettings = LagSettings()
    local: LocalSettings = LocalSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the base's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base's signature
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what it is made with, and nothing else: the sources are read by ``infra.configuration``."""
        return (init_settings,)

    @property
    def invalidate_topic(self) -> str:
        """Where producers ask for an invalidation."""
        return f"{self.namespace}.invalidate"

    @property
    def dead_letter_topic(self) -> str:
        """Where records go that can't be used."""
        return f"{self.namespace}.dead-letters"

    @property
    def refresh_topic(self) -> str:
        """Where coalesced edits of documents go, to be indexed."""
        return f"{self.namespace}.semantic.refresh"

    def table_topic(self, qualified_name: str) -> str:
        """The topic of a table's change events."""
        return f"{self.topic_prefix}.{qualified_name}"

    def group(self, role: str) -> str:
        """The consumer group of a role."""
        return f"{self.namespace}.{role}"

    def has(self, name: EndpointName) -> bool:
        """Whether this server has an address."""
        given = {
            "kafka": self.kafka.bootstrap_servers,
            "postgres": self.postgres.host or self.postgres.socket_folder,
            "redis": self.redis.url,
            "connect": self.connect.url,
            "qdrant": self.qdrant.url or self.qdrant.folder,
        }
        return bool(given[name])

    def require(self, names: Collection[EndpointName]) -> Self:
        """Return itself, or say which of these servers has no address.

        Raises:
            SettingsError: one has none; the message names the variable to set and the command that starts a local one.
        """
        missing = [name for name in names if not self.has(name)]
        if missing:
            variables = ", ".join(_variable(name, ENDPOINT_FIELDS[name][0]) for name in missing)
            raise SettingsError(
                f"no address is set for {' and '.join(missing)}: set {variables}, or start the local stack with "
                "`freshline up`",
            )
        return self


def _variable(section: str, field: str) -> str:
    return f"{ENVIRONMENT_PREFIX}{section}{NESTED_DELIMITER}{field}".upper()
