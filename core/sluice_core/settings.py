"""Settings of a process, read from environment variables that only `__main__` passes in.

A settings type is a msgspec Struct; its field `nats_url` is the variable `SLUICE_NATS_URL`. A secret may be a mounted
file instead: `SLUICE_NATS_PASSWORD_FILE` names it. Invariant: a process starts with complete, checked settings or
not at all, and no error repeats a value.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from sluice_core.errors import SettingsError, explain_validation

PREFIX = "SLUICE_"

Settings = TypeVar("Settings", bound=msgspec.Struct)


def read_settings(kind: type[Settings], environ: Mapping[str, str]) -> Settings:
    """The settings `kind` as `environ` gives them.

    Raises SettingsError, naming the variable.
    """
    given: dict[str, str] = {}
    for field in msgspec.structs.fields(kind):
        variable = PREFIX + field.name.upper()
        if (value := _read(variable, environ)) is not None:
            given[field.name] = value
        elif field.required:
            raise SettingsError(f"{variable} is not set")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        what, where = explain_validation(error)
        raise SettingsError(f"{PREFIX}{where.removeprefix('$.').upper()} has a wrong value: {what}") from None


def _read(variable: str, environ: Mapping[str, str]) -> str | None:
    path = environ.get(f"{variable}_FILE")
    if path is None:
        return environ.get(variable)
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise SettingsError(f"{variable}_FILE cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{variable}_FILE cannot be read: it is not text") from None
