"""The file that says up to where Kafka has a replay, so that it can go on from there."""

import os
from pathlib import Path
from typing import Any

import orjson
import pydantic

from shadowlane.errors import ConfigError


class Progress(pydantic.BaseModel):
    """What has to be known to go on."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    version: int = 1
    options: dict[str, Any]
    """What the order, the ids or the times of the requests depend on: the same again, or it is another replay."""
    instance: str
    """The ledger's, of this replay."""
    started: int
    """When it was begun for the first time, Unix milliseconds."""
    acknowledged: int = 0
    """Kafka has so many requests from the first one on, without a gap."""
    mark: str = ""
    """A digest of their ids."""


def load(path: Path, options: dict[str, Any]) -> Progress | None:
    """What the file says; None where there is no file.

    Raises:
        ConfigError: it can't be read, or is of a replay with other options.
    """
    try:
        found = Progress.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ConfigError(f"{path}: can't be read ({exc.strerror})") from exc
    except pydantic.ValidationError as exc:
        raise ConfigError(f"{path}: is no progress of a replay; name another with --state") from exc
    other = sorted(name for name in options if found.options.get(name) != options[name])
    if found.version != 1 or other:
        raise ConfigError(
            f"{path}: is the progress of a replay that was interrupted, with another {' and '.join(other)}; give the "
            "same options to go on, name another file with --state, or remove this one to begin anew"
        )
    return found


def save(path: Path, progress: Progress) -> None:
    """Replaces the file at once: whoever is killed leaves the one or the other.

    Raises:
        ConfigError: it can't be written.
    """
    aside = path.with_name(f"{path.name}.new")
    try:
        with aside.open("wb") as file:
            file.write(orjson.dumps(progress.model_dump(), option=orjson.OPT_INDENT_2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as exc:
        raise ConfigError(
            f"{path}: can't be written ({exc.strerror}); name a file for the progress with --state"
        ) from exc


def remove(path: Path) -> None:
    """Everything was sent."""
    path.unlink(missing_ok=True)
