"""All settings of Freshline in one typed place, validated once at start.

A value comes from the first of these that has it: the environment (``FRESHLINE_KAFKA__BOOTSTRAP_SERVERS``), the TOML
file that ``FRESHLINE_CONFIG`` names, the running local stack (its ``state.json``; only where neither of the first two
names an endpoint, so that a machine's own servers and the local ones are never mixed), the defaults below.
Secrets are ``SecretStr`` and may be given as a file (``FRESHLINE_POSTGRES__PASSWORD_FILE``).
"""

import ssl
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from schemas.errors import SettingsError

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

DEFAULT_MODEL = "all-MiniLM-L6-v2"


class Section(BaseModel):
    """Base of the nested models: unknown names are errors, so that a typing mistake is not a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _secret(value: SecretStr | None, file: Path | None) -> SecretStr | None:
    if value is not None or file is None:
        return value
    try:
        return SecretStr(file.read_text().rstrip("\r\n"))
    except OSError as error:
        raise SettingsError(f"the secret's file {file} can't be read: {error.strerror}") from error


def _reveal(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()


class KafkaSettings(Section):
    """How to reach Kafka, in aiokafka's words."""

    bootstrap_servers: str = ""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    sasl_password_file: Path | None = None
    ssl_ca_file: Path | None = None
    ssl_certificate_file: Path | None = None
    ssl_key_file: Path | None = None
    ssl_key_password: SecretStr | None = None
    ssl_key_password_file: Path | None = None

    def client_arguments(self) -> dict[str, Any]:
        """The keyword arguments that every aiokafka client of ours is made with."""
        arguments: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol in {"SSL", "SASL_SSL"}:
            context = ssl.create_default_context(cafile=self.ssl_ca_file)
            if self.ssl_certificate_file is not None:
                password = _reveal(_secret(self.ssl_key_password, self.ssl_key_password_file))
                context.load_cert_chain(self.ssl_certificate_file, self.ssl_key_file, password)
            arguments["ssl_context"] = context
        if self.security_protocol in {"SASL_PLAINTEXT", "SASL_SSL"}:
            arguments |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": _reveal(_secret(self.sasl_password, self.sasl_password_file)),
            }
        return arguments


class PostgresSettings(Section):
    """How to reach the primary. ``dsn`` (a libpq URL) stands for the parts that it names."""

    dsn: SecretStr | None = None
    host: str = ""
    port: int = 5432
    # A folder with the server's unix socket, on the same machine: the sight queries take it, since it is the fastest.
    socket_folder: Path | None = None
    database: str = "postgres"
    user: str = "postgres"
    password: SecretStr | None = None
    password_file: Path | None = None
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    ssl_root_cert: Path | None = None

    # What `freshline db prepare` and `freshline connector apply` make in the database.
    publication: str = "freshline"
    slot: str = Field("freshline", pattern=r"^[a-z0-9_]{1,63}$")
    debezium_role: str = "freshline_debezium"
    debezium_password: SecretStr | None = None
    debezium_password_file: Path | None = None
    reader_role: str = "freshline_reader"
    reader_password: SecretStr | None = None
    reader_password_file: Path | None = None
    # Tables (`schema.name`) whose whole rows may leave Postgres where a column list can't be had.
    whole_rows: frozenset[str] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _take_dsn_apart(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not values.get("dsn"):
            return values
        dsn = values["dsn"]
        parts = urlsplit(dsn.get_secret_value() if isinstance(dsn, SecretStr) else str(dsn))
        if parts.scheme not in {"postgres", "postgresql"}:
            raise ValueError("a dsn begins with postgresql://")
        query = {name: found[-1] for name, found in parse_qs(parts.query).items()}
        host = parts.hostname or query.get("host", "")
        found: dict[str, Any] = {
            "host": "" if host.startswith("/") else host,
            "socket_folder": host if host.startswith("/") else None,
            "port": parts.port or query.get("port"),
            "database": unquote(parts.path.lstrip("/")) or query.get("dbname"),
            "user": unquote(parts.username or "") or query.get("user"),
            "password": unquote(parts.password or "") or query.get("password"),
            "sslmode": query.get("sslmode"),
            "ssl_root_cert": query.get("sslrootcert"),
        }
        return {name: value for name, value in found.items() if value} | values

    def connect_arguments(self) -> dict[str, Any]:
        """The keyword arguments for ``asyncpg.connect`` and ``asyncpg.create_pool``: by socket where there is one."""
        arguments: dict[str, Any] = {
            "host": str(self.socket_folder) if self.socket_folder is not None else self.host,
            "port": self.port,
            "database": self.database,
            "user": self.user,
            "password": self.password_text(),
        }
        if self.socket_folder is None:
            arguments["ssl"] = self._ssl()
        return arguments

    def reader_arguments(self) -> dict[str, Any]:
        """As `connect_arguments`, for the readers' role of least privilege where its password is set."""
        password = _reveal(_secret(self.reader_password, self.reader_password_file))
        own = {} if password is None else {"user": self.reader_role, "password": password}
        return self.connect_arguments() | own

    def role_passwords(self) -> dict[str, str]:
        """The passwords of Debezium's and the readers' role, by role, where they are set."""
        found = {
            self.debezium_role: _reveal(_secret(self.debezium_password, self.debezium_password_file)),
            self.reader_role: _reveal(_secret(self.reader_password, self.reader_password_file)),
        }
        return {role: password for role, password in found.items() if password is not None}

    def password_text(self) -> str | None:
        """The password, from the setting or its file; ``None`` where neither is set."""
        return _reveal(_secret(self.password, self.password_file))

    def url(self, *, scheme: str = "postgresql", database: str | None = None) -> str:
        """A libpq URL of the server by TCP, with the password in it: for drivers and tools that take nothing else."""
        password = self.password_text()
        login = quote(self.user, safe="") + ("" if password is None else ":" + quote(password, safe=""))
        name = quote(self.database if database is None else database, safe="")
        if not self.host:
            return f"{scheme}://{login}@/{name}?host={quote(str(self.socket_folder), safe='')}&port={self.port}"
        root = "" if self.ssl_root_cert is None else f"&sslrootcert={quote(str(self.ssl_root_cert), safe='')}"
        return f"{scheme}://{login}@{self.host}:{self.port}/{name}?sslmode={self.sslmode}{root}"

    def _ssl(self) -> ssl.SSLContext | str:
        if self.ssl_root_cert is None or self.sslmode not in {"verify-ca", "verify-full"}:
            return self.sslmode
        context = ssl.create_default_context(cafile=self.ssl_root_cert)
        context.check_hostname = self.sslmode == "verify-full"
        return context


class RedisSettings(Section):
    """How to reach Redis or Valkey: ``redis://`` or, with TLS, ``rediss://``."""

    url: str = ""
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    ssl_ca_file: Path | None = None
    ssl_certificate_file: Path | None = None
    ssl_key_file: Path | None = None

    def client_arguments(self) -> dict[str, Any]:
        """The keyword arguments for ``redis.asyncio.Redis.from_url``, ``url`` among them."""
        arguments: dict[str, Any] = {"url": self.url}
        if self.username is not None:
            arguments["username"] = self.username
        password = _reveal(_secret(self.password, self.password_file))
        if password is not None:
            arguments["password"] = password
        if self.url.startswith("rediss://"):
            files = {
                "ssl_ca_certs": self.ssl_ca_file,
                "ssl_certfile": self.ssl_certificate_file,
                "ssl_keyfile": self.ssl_key_file,
            }
            arguments |= {name: str(file) for name, file in files.items() if file is not None}
        return arguments


class ConnectSettings(Section):
    """How to reach Kafka Connect's REST interface, and what Debezium's connector is to be."""

    url: str = ""
    connector: str = Field("freshline", pattern=r"^[A-Za-z0-9._-]+$")
    # The database as Kafka Connect reaches it, where that differs from how we do.
    database_host: str | None = None
    database_port: int | None = None
    database_ssl_root_cert: Path | None = None
    # A reference that a config provider of the workers resolves, such as `${file:/secrets/debezium:password}`. Without
    # one the password itself is in the connector's configuration, for everyone to read who reaches Connect.
    password_reference: str | None = None
    # How long Debezium sleeps while there is nothing to read. A change takes half of it longer on average, and an idle
    # task takes the more of a core the less it sleeps: `python -m bench polling` says how much.
    poll_interval_ms: int = Field(2, ge=1)
    heartbeat_interval_ms: int = Field(5_000, ge=100)
    # Settings of Debezium, Connect or its producer that are wanted otherwise, by their own names.
    overrides: dict[str, str] = Field(default_factory=dict)


class QdrantSettings(Section):
    """How to reach Qdrant, and how its collections are made."""

    url: str = ""
    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    # A folder instead of a server: Qdrant within the process, which no other can open meanwhile. For trying things out.
    folder: Path | None = None
    timeout_s: float = Field(5.0, gt=0)
    # How vectors are kept: as they are, or in a byte or a bit for each dimension, which is searched first.
    quantization: Literal["none", "scalar", "binary"] = "none"
    # Whether vectors and passages lie on disk rather than in memory.
    on_disk: bool = False
    shards: int = Field(1, ge=1)
    replication_factor: int = Field(1, ge=1)

    def api_key_text(self) -> str | None:
        """The API key, from the setting or its file; None where neither is set."""
        return _reveal(_secret(self.api_key, self.api_key_file))


class EmbeddingSettings(Section):
    """Which model says what a text means, and where it runs."""

    # A name (`all-MiniLM-L6-v2`, or one of the hub's) or the path of a folder that holds a model. Without one, the
    # model that the index was made with, and the default one for a new index.
    model: str | None = None
    # A folder that holds models by their names.
    folder: Path | None = None
    # `cpu`, `cuda`, `mps` …; without one the best that is there.
    device: str | None = None
    # Threads that compute on the CPU; without a number one for each core that the machine has, also where a quota or
    # other processes leave fewer. Waiting for each other, too many are slower than one.
    threads: int | None = Field(None, ge=1)


class TopicSettings(Section):
    """How the topics are made. A topic of a table can't get other partitions later without breaking its keys' order."""

    partitions: int = Field(8, ge=1)
    replication_factor: int = Field(1, ge=1)
    min_insync_replicas: int = Field(1, ge=1)
    retention_hours: int = Field(7 * 24, ge=1)
    dead_letter_retention_hours: int = Field(30 * 24, ge=1)
    # The largest record of any of them. A row whose event is larger stops the connector.
    largest_record_bytes: int = Field(20 * 1024 * 1024, ge=1024 * 1024)


class WorkerSettings(Section):
    """How the workers of ``freshline run`` behave."""

    # Name of a static member, the pod's say: a restart within the session timeout then moves no partitions.
    instance: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]+$")
    # After how long a silent worker is taken for dead and its partitions go to others.
    session_timeout_s: float = Field(10.0, ge=1)
    # Where metrics and probes are served. Port 0 takes a free one, which the log names.
    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535)
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class StreamSettings(Section):
    """How edits of documents are coalesced before their texts are read and indexed."""

    # A document's edits are one refresh when there was none for so long …
    quiet_ms: int = Field(500, ge=1)
    # … or after so long, when they don't end.
    unrest_ms: int = Field(5_000, ge=1)

    @model_validator(mode="after")
    def _quiet_comes_first(self) -> Self:
        if self.unrest_ms < self.quiet_ms:
            raise ValueError("unrest_ms must not be shorter than quiet_ms")
        return self


class ReaderSettings(Section):
    """How a service reads (``freshline.open``)."""

    # Whether it reads through the cache, around it, or both to compare them: for introducing it step by step.
    mode: Literal["cached", "bypass", "shadow"] = "cached"
    # What a process remembers at most, and for how long.
    l1_items: int = Field(1_000, ge=1)
    l1_ttl_s: float = Field(60.0, gt=0)
    # How long a command may take before Redis counts as away.
    redis_timeout_s: float = Field(0.5, gt=0)
    redis_connections: int = Field(16, ge=1)
    database_connections: int = Field(10, ge=1)
    # How many reads may be at Postgres at once where the cache can't answer, and how long others wait for their turn.
    database_limit: int = Field(10, ge=1)
    database_wait_s: float = Field(1.0, gt=0)
    # How long a call may take before Qdrant counts as away.
    qdrant_timeout_s: float = Field(0.5, gt=0)
    # A larger result of a query is not cached.
    query_limit_bytes: int = Field(256 * 1024, ge=1)


class AnswerSettings(Section):
    """How answers are cached by what their questions mean."""

    ttl_s: float = Field(3_600.0, gt=0)
    # How many a tenant keeps; the least recently used goes first.
    entries: int = Field(1_000, ge=1)
    # The least similarity (cosine) at which the guard is asked whether two questions mean the same.
    similarity: float = Field(0.85, gt=0, le=1)
    # How many cached questions are looked at for each that is asked.
    candidates: int = Field(8, ge=1)
    # The share of all questions that may be answered wrongly from the cache. With it, thresholds are learned for each
    # cached question from reports and comparisons; without it the similarity and the guard alone decide.
    error_rate: float | None = Field(None, gt=0, lt=1)
    # How long whoever produces an answer is waited for by others who ask the same.
    produce_wait_s: float = Field(10.0, gt=0)
    # After it whoever produces an answer is taken for dead.
    produce_lease_s: float = Field(60.0, gt=0)
    # A larger answer is not cached.
    limit_bytes: int = Field(256 * 1024, ge=1)


class DemandSettings(Section):
    """How many workers of a role are asked for."""

    # A backlog is to be worked off within so many seconds.
    recovery_s: float = Field(60.0, gt=0)
    # The share of a worker's true rate that is planned with. Workers are let go where the others keep below the second.
    # Where the time that a record takes varies by a fifth and more, 0.80 and 0.75 are calmer.
    utilisation: float = Field(0.90, gt=0, le=1)
    relaxed_utilisation: float = Field(0.85, gt=0, le=1)
    # The fewest workers, and the most.
    floor: int = Field(1, ge=0)
    ceiling: int = Field(10, ge=1)

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if self.relaxed_utilisation > self.utilisation:
            raise ValueError("relaxed_utilisation must not be above utilisation")
        if self.floor > self.ceiling:
            raise ValueError("floor must not be above ceiling")
        return self


class LagSettings(Section):
    """What is watched for lag (`freshline lag`, `freshline run lag`), and what is late."""

    # Other consumer groups beside our own, by name; `*` stands for any characters.
    groups: tuple[str, ...] = ()
    every_s: float = Field(5.0, gt=0)
    # A record that waits longer is late.
    lagging_s: float = Field(30.0, gt=0)
    # A group whose place has not moved for so long, while more came, is stalled.
    stalled_s: float = Field(60.0, gt=0)
    # For every role of workers, and by its name for those that are to have others.
    demand: DemandSettings = DemandSettings()
    demand_of: dict[str, DemandSettings] = Field(default_factory=dict)


class LocalSettings(Section):
    """The local stack of ``freshline up`` and of the tests. A deployment brings its own servers instead."""

    folder: Path = Path(".local")
    # Downloads and unpacked binaries, shared by all stacks of a clone; in ``folder`` where it is not set.
    cache: Path | None = None
    # Where to look for jars before downloading them, and where to keep them: Maven's own local repository.
    maven_cache: Path | None = None
    # A mirror of the Maven repository, for networks that reach only their own.
    maven_mirror: str | None = None
    # The machine's own programs instead of the downloaded ones.
    postgres_bin: Path | None = None
    redis_server: Path | None = None
    java: Path | None = None

    postgres_version: Literal["15", "18"] = "18"
    # Whom Postgres runs as when we are root, whom it refuses.
    postgres_user: str = "nobody"
    postgres_options: dict[str, str] = Field(default_factory=dict)
    database: str = "voiceassist"
    valkey_max_memory: str = "512mb"
    kafka_heap_mb: int = Field(512, ge=128)
    connect_heap_mb: int = Field(512, ge=128)
    start_timeout_s: float = Field(90.0, gt=0)
    stop_timeout_s: float = Field(15.0, gt=0)

    @property
    def cache_folder(self) -> Path:
        """Where downloads and unpacked binaries lie."""
        return self.cache if self.cache is not None else self.folder / "cache"

    @property
    def state_file(self) -> Path:
        """Where the stack in ``folder`` remembers its ports and processes."""
        return self.folder / "state.json"


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
