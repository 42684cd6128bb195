"""Postgres 15 or 18, with logical decoding switched on, reached by TCP and by a unix socket."""

import secrets
import shutil
import signal
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from infra.local.ports import HOST, is_free
from infra.local.postgres_binaries import unpack_postgres, unpacked_folder
from infra.local.postgres_home import PostgresHome, postgres_home
from infra.local.processes import Launch, ServiceFailedError, run_tool
from infra.local.service import Service

SUPERUSER = "postgres"
ANSWER_TIMEOUT_S = 2.0

# What a change stream needs, and room for many stacks of tests. `local.postgres_options` adds to it.
OPTIONS = {
    "wal_level": "logical",
    "max_wal_senders": "20",
    "max_replication_slots": "20",
    "max_connections": "200",
    "listen_addresses": HOST,
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}
CONFIGURATION = "freshline.conf"
# Of the roles that `freshline db prepare` makes: settings of the same names.
ROLE_PASSWORDS = ("debezium_password", "reader_password")


class PostgresService(Service):
    """A primary with one database and the superuser `postgres`, whose password lies in the stack's state."""

    name = "postgres"
    section = "postgres"
    port_names = ("postgres",)
    stop_signal = signal.SIGINT  # the fast shutdown: sessions are ended, data are flushed
    abandon_signal = signal.SIGQUIT  # the immediate one: unlike a kill, it gives shared memory back

    @property
    def endpoint(self) -> str:
        """Its URL, without the password."""
        return f"postgresql://{SUPERUSER}@{HOST}:{self.ports['postgres']}/{self._around.settings.database}"

    @property
    def socket_folder(self) -> Path:
        """The folder of its unix socket."""
        return self._home.socket_folder

    @property
    def version(self) -> str:
        """The major version that the settings ask for."""
        return self._around.settings.postgres_version

    def endpoints(self) -> dict[str, Any]:
        """The section ``postgres`` of the settings."""
        return {
            "host": HOST,
            "port": self.ports["postgres"],
            "socket_folder": str(self.socket_folder),
            "database": self._around.settings.database,
            "user": SUPERUSER,
            "password": self._password,
            "sslmode": "disable",
            **{name: self._record().facts[name] for name in ROLE_PASSWORDS if name in self._record().facts},
        }

    def fetch(self) -> None:
        """Unpack the programs."""
        unpack_postgres(self._around.settings, self._around.artifacts, self._around.progress)

    async def prepare(self) -> None:
        """Make the data directory and write the configuration."""
        home = self._home
        home.move_in()
        if not home.data.exists():
            await self._create_cluster(home)
        self._check_version(home)
        self._write_configuration(home)

    def launch(self) -> Launch:
        """How it is started."""
        home = self._home
        return Launch([home.programs / "postgres", "-D", home.data], home.data, self.log_file, home.user)

    async def healthy(self) -> bool:
        """Whether it runs a statement."""
        if is_free(self.ports["postgres"]):  # cheaper than a client whose connection is refused
            return False
        try:
            connection = await self._connect(SUPERUSER)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        await connection.close()
        return True

    async def introduce(self) -> None:
        """Create the database."""
        connection = await self._connect("postgres")
        try:
            name = self._around.settings.database
            if not await connection.fetchval("select exists (select from pg_database where datname = $1)", name):
                await connection.execute('create database "{}"'.format(name.replace('"', '""')))
        finally:
            await connection.close()

    async def stop(self, *, in_order: bool = True) -> None:
        """Stop it, and leave nothing outside the stack's folder."""
        await super().stop(in_order=in_order)
        self._home.move_out()

    async def _connect(self, database: str) -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(
            host=str(self.socket_folder),
            port=self.ports["postgres"],
            user=SUPERUSER,
            password=self._password,
            database=database,
            timeout=ANSWER_TIMEOUT_S,
        )

    @property
    def _home(self) -> PostgresHome:
        settings = self._around.settings
        return postgres_home(self.folder, unpacked_folder(settings), settings.postgres_user)

    @property
    def _password(self) -> str:
        return self._record().facts.get("password", "")

    async def _create_cluster(self, home: PostgresHome) -> None:
        unfinished = home.data.with_name("data.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        record = self._record()
        password = secrets.token_urlsafe(24)
        made = {"password": password} | {name: secrets.token_urlsafe(24) for name in ROLE_PASSWORDS}
        self._remember(msgspec.structs.replace(record, facts=record.facts | made))
        password_file = unfinished.with_name("password.unfinished")
        password_file.touch(mode=0o600)
        password_file.write_text(password)
        home.give(unfinished)
        home.give(password_file)
        command: list[str | Path] = [
            home.programs / "initdb",
            *("--pgdata", unfinished),
            *("--username", SUPERUSER),
            *("--pwfile", password_file),
            *("--auth", "scram-sha-256"),
            *("--encoding", "UTF8"),
            "--no-locale",
            "--no-sync",
        ]
        try:
            await run_tool(Launch(command, unfinished.parent, self.log_file, home.user), "initdb")
        finally:
            password_file.unlink()
        with (unfinished / "postgresql.conf").open("a") as configuration:
            configuration.write(f"\ninclude '{CONFIGURATION}'\n")
        unfinished.rename(home.data)

    def _check_version(self, home: PostgresHome) -> None:
        found = (home.data / "PG_VERSION").read_text().strip()
        if self._around.settings.postgres_bin is None and found != self._around.settings.postgres_version:
            raise ServiceFailedError(
                f"{home.data} was made by Postgres {found}, not {self._around.settings.postgres_version}: remove it "
                "with `freshline down --data`, or set FRESHLINE_LOCAL__POSTGRES_VERSION",
            )

    def _write_configuration(self, home: PostgresHome) -> None:
        own = {"port": str(self.ports["postgres"]), "unix_socket_directories": str(home.socket_folder)}
        options = OPTIONS | own | self._around.settings.postgres_options
        file = home.data / CONFIGURATION
        lines = ("{} = '{}'\n".format(name, value.replace("'", "''")) for name, value in options.items())
        file.write_text("".join(lines))
        home.give(file)
