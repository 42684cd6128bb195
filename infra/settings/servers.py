"""How to reach the servers that state is kept in."""

import ssl
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, quote, unquote, urlsplit

from pydantic import Field, SecretStr, model_validator

from infra.settings.section import Section, reveal, secret


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
                password = reveal(secret(self.ssl_key_password, self.ssl_key_password_file))
                context.load_cert_chain(self.ssl_certificate_file, self.ssl_key_file, password)
            arguments["ssl_context"] = context
        if self.security_protocol in {"SASL_PLAINTEXT", "SASL_SSL"}:
            arguments |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": reveal(secret(self.sasl_password, self.sasl_password_file)),
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
        password = reveal(secret(self.reader_password, self.reader_password_file))
        own = {} if password is None else {"user": self.reader_role, "password": password}
        return self.connect_arguments() | own

    def role_passwords(self) -> dict[str, str]:
        """The passwords of Debezium's and the readers' role, by role, where they are set."""
        found = {
            self.debezium_role: reveal(secret(self.debezium_password, self.debezium_password_file)),
            self.reader_role: reveal(secret(self.reader_password, self.reader_password_file)),
        }
        return {role: password for role, password in found.items() if password is not None}

    def password_text(self) -> str | None:
        """The password, from the setting or its file; ``None`` where neither is set."""
        return reveal(secret(self.password, self.password_file))

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
        password = reveal(secret(self.password, self.password_file))
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
        return reveal(secret(self.api_key, self.api_key_file))
