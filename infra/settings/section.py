"""What sections of the settings have in common: unknown names are errors, and secrets may lie in files."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, SecretStr

from schemas.errors import SettingsError


class Section(BaseModel):
    """Base of the nested models: unknown names are errors, so that a typing mistake is not a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def secret(value: SecretStr | None, file: Path | None) -> SecretStr | None:
    """The value, or what is in the file.

    Raises:
        SettingsError: the file can't be read.
    """
    if value is not None or file is None:
        return value
    try:
        return SecretStr(file.read_text().rstrip("\r\n"))
    except OSError as error:
        raise SettingsError(f"the secret's file {file} can't be read: {error.strerror}") from error


def reveal(value: SecretStr | None) -> str | None:
    """Its text; None where there is none."""
    return None if value is None else value.get_secret_value()
