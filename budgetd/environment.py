"""A named value from outside: the environment, a file that `NAME_FILE` names, or a systemd credential."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

MOST_BYTES = 64 * 1024

_LINE = re.compile(
    r"""(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>"[^"]*"|'[^']*'|.*?)(?:\s+\#.*)?\s*"""
)


class UnavailableError(Exception):
    """A named value cannot be had. Says the name and the reason, never a value."""


def read_regular(path: Path, most: int) -> tuple[bytes, os.stat_result]:
    """The bytes of a regular file of at most `most` bytes, in bounded time. Raises UnavailableError."""
    try:
        # A FIFO or a device would block, or never end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise UnavailableError(_reason(error)) from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise UnavailableError("is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise UnavailableError("is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(most + 1)
    except OSError as error:
        raise UnavailableError(_reason(error)) from None
    finally:
        os.close(descriptor)
    if len(content) > most:
        raise UnavailableError(f"is larger than {most // 1024:,} KiB")
    return content, status


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return f"cannot be read: {error.strerror}" if isinstance(error, OSError) else "is not a path"


def read_text(path: Path, refused_mode: int = 0) -> str:
    """A small secret in a file, without the line's end. Raises UnavailableError, also for a refused mode bit."""
    content, status = read_regular(path, MOST_BYTES)
    mode = stat.S_IMODE(status.st_mode)
    if mode & refused_mode:
        raise UnavailableError(f"can be read by others (mode {mode:04o}); make it private: chmod 600")
    try:
        text = content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise UnavailableError("is not text in UTF-8") from None
    if not text.strip():
        raise UnavailableError("is empty")
    return text


def credential(environment: Mapping[str, str], *names: str) -> Path | None:
    """The file of the first of the systemd credentials that is there. Raises UnavailableError."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    candidates = [Path(folder) / name for name in names] if folder else []
    try:
        return next((path for path in candidates if path.exists()), None)
    except OSError as error:
        raise UnavailableError(f"the folder of credentials {folder} {_reason(error)}") from None


def value_of(name: str, environment: Mapping[str, str]) -> str:
    """What `${NAME}` stands for: the variable, the file that `NAME_FILE` names, or the credential.

    Raises UnavailableError.
    """
    if name in environment:
        if not environment[name].strip():
            raise UnavailableError(f"the environment variable {name} is empty")
        return environment[name]
    named = environment.get(f"{name}_FILE")
    path = Path(named) if named else credential(environment, name, name.lower())
    if path is None:
        raise UnavailableError(
            f"there is no environment variable {name}, no {name}_FILE and no credential {name.lower()}"
        )
    try:
        return read_text(path)
    except UnavailableError as error:
        raise UnavailableError(f"the file for {name} {error}") from None


def with_dotenv(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The environment, and beneath it what a `.env` in the folder says. Raises UnavailableError for a broken line."""
    path = folder / ".env"
    if not path.is_file():
        return dict(environment)
    try:
        lines = read_text(path).splitlines()
    except UnavailableError as error:
        if str(error) == "is empty":
            return dict(environment)
        raise UnavailableError(f".env {error}") from None
    return {**_assignments(lines), **environment}


def _assignments(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        assignment = _LINE.fullmatch(text)
        if assignment is None:
            raise UnavailableError(f".env:{number}: expected NAME=value")
        value = assignment["value"]
        quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
        found[assignment["name"]] = value[1:-1] if quoted else value
    return found
