"""How this installation runs: environment, `NAME_FILE`, systemd credentials, a `.env`; or every mistake in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from budgetd.environment import UnavailableError, credential, read_text, with_dotenv
from budgetd.fields import mistake
from budgetd.nearest import did_you_mean, nearest

PREFIX = "BUDGETD_"
VENDOR_KEY = "ANTHROPIC_ADMIN_KEY"
_RULES = ("rules.yaml", "/etc/budgetd/rules.yaml")
_PATHS = frozenset({"rules", "database", "ca_file"})

_DURATION = re.compile(r"(?P<count>[1-9][0-9]{0,5})(?P<unit>[smh])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours"}
_KEY = re.compile(r"[\x21-\x7e]+", re.ASCII)
_BETA = re.compile(r"[a-z0-9][a-z0-9.-]*", re.ASCII)
_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_PLAIN_URL = re.compile(r"[A-Za-z0-9:/?#@!$&+,;=%._~-]{1,500}", re.ASCII)
_LONGEST_WAIT = timedelta(days=1)
# Group and others may not read the key. systemd grants a service its credential through an access list, whose mask
# shows as the group's bit; so in the credentials directory only the others' bit counts.
_NOT_PRIVATE = 0o044
_NOT_PRIVATE_CREDENTIAL = 0o004


class SettingsError(Exception):
    """The settings cannot be used. `mistakes` are all of them, a line each; none holds a secret."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


@dataclass(frozen=True, slots=True)
class AdminKey:
    """The admin key, looked up at each call: a file that was replaced counts at once, without a restart."""

    text: str | None = field(default=None, repr=False)
    path: Path | None = None
    refused_mode: int = _NOT_PRIVATE
    name: str = "BUDGETD_ADMIN_KEY"

    @property
    def given(self) -> bool:
        """Whether anything says what the key is."""
        return self.text is not None or self.path is not None

    def __call__(self) -> str:
        """The key. Raises SettingsError when there is none, or it cannot be read or is not a key."""
        if not self.given:
            raise SettingsError(
                ["no admin key: set BUDGETD_ADMIN_KEY_FILE to a private file that holds it, or BUDGETD_ADMIN_KEY"]
            )
        try:
            text = self.text if self.path is None else read_text(self.path, self.refused_mode)
        except UnavailableError as error:
            raise SettingsError([f"{self.name}: the file {self.path} {error}"]) from None
        key = (text or "").strip()
        if _KEY.fullmatch(key) is None:
            raise SettingsError([f"{self.name} {'holds characters that no key has' if key else 'is empty'}"])
        return key


def _duration(value: Any) -> timedelta:
    found = _DURATION.fullmatch(value)
    if found is None:
        raise mistake("expected a duration such as 90s, 1m or 1h")
    length = timedelta(**{_UNITS[found["unit"]]: int(found["count"])})
    if length > _LONGEST_WAIT:
        raise mistake("a poll must come at least once in 24h")
    return length


def _web_address(value: str, *schemes: str) -> Any:
    """The parts of a URL with a host. Raises PydanticCustomError, which does not repeat it."""
    try:
        parts = urlsplit(value)
        whole = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole or not value.isascii() or not value.isprintable() or " " in value:
        raise mistake(f"expected a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    return parts


def _api_url(value: Any) -> str:
    parts = _web_address(value, "https", "http")
    if parts.username is not None or parts.query or parts.fragment:
        raise mistake("expected a URL without a user, '?' and '#'")
    if parts.scheme == "http" and not _loopback(parts.hostname):
        raise mistake("plain http only goes to this machine (localhost, 127.0.0.1, [::1]): the key would be readable")
    return str(value).rstrip("/")


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _any_url(value: Any) -> str:
    _web_address(value, "https", "http")
    return str(value)


def _page_url(value: Any) -> str:
    """A URL that is shown: nothing in it may end a link in any kind of text, or be a secret."""
    parts = _web_address(value, "https", "http")
    if parts.username is not None or not _PLAIN_URL.fullmatch(value):
        raise mistake("expected a URL without a user, quotes, brackets, '|' and '`'; it is shown in messages")
    return str(value)


def _betas(value: Any) -> tuple[str, ...]:
    if isinstance(value, tuple):
        return value
    betas = tuple(part.strip() for part in value.split(",") if part.strip())
    if not all(_BETA.fullmatch(beta) for beta in betas):
        raise mistake("expected names of betas with commas between them, such as fast-mode-2026-02-01")
    return betas


def _api_version(value: Any) -> str:
    if _VERSION.fullmatch(value) is None:
        raise mistake("expected a date such as 2023-06-01")
    return str(value)


def _database(value: Any) -> Any:
    if "://" in str(value):
        raise mistake("expected the path of a file; other databases are not in this version of budgetd")
    return value


def _source(value: Any) -> str:
    choices = ("auto", "cost_report", "analytics")
    if value not in choices:
        raise mistake("expected auto, cost_report or analytics", word=value, choices=choices)
    return str(value)


def _log(value: Any) -> str:
    choices = ("pretty", "journald", "logfmt", "json")
    if value not in choices:
        raise mistake(f"expected {', '.join(choices)}", word=value, choices=choices)
    return str(value)


class Settings(BaseSettings):
    """One field for each `BUDGETD_...` variable; unset and empty are the same."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, env_prefix=PREFIX)

    admin_key: AdminKey = Field(description="the key of the Admin API; also read from ANTHROPIC_ADMIN_KEY")
    api_url: Annotated[str, BeforeValidator(_api_url)] = Field(
        default="https://api.anthropic.com", description="plain http only to loopback"
    )
    api_version: Annotated[str, BeforeValidator(_api_version)] = Field(
        default="2023-06-01", description="the `anthropic-version` header"
    )
    api_betas: Annotated[tuple[str, ...], BeforeValidator(_betas)] = Field(
        default=(), description="the `anthropic-beta` header, with commas; fast-mode-2026-02-01 brings `speed`"
    )
    api_proxy: Annotated[str, BeforeValidator(_any_url)] | None = Field(
        default=None, repr=False, description="an HTTP proxy on the way to the API"
    )
    ca_file: Path | None = Field(default=None, description="certificates (PEM) to trust besides the system's own")
    rules: Path = Field(description="default: ./rules.yaml, then /etc/budgetd/rules.yaml")
    database: Annotated[Path, BeforeValidator(_database)] = Field(
        description="default: $STATE_DIRECTORY/budgetd.db, else the user's state folder"
    )
    source: Annotated[Literal["auto", "cost_report", "analytics"], BeforeValidator(_source)] = Field(
        default="auto",
        description="auto: the bill, and for days without one the analytics where they answer and token usage; "
        "cost_report, analytics: that one alone",
    )
    poll_every: Annotated[timedelta, BeforeValidator(_duration)] | None = Field(
        default=None, description="90s, 1m, 1h; default: hourly, and sooner while yesterday is due"
    )
    heartbeat_url: Annotated[str, BeforeValidator(_any_url)] | None = Field(
        default=None, repr=False, description="pinged after each good poll"
    )
    status_url: Annotated[str, BeforeValidator(_page_url)] | None = Field(
        default=None, description="a page that messages link to, such as a dashboard; everybody who is told sees it"
    )
    log: Annotated[Literal["pretty", "journald", "logfmt", "json"], BeforeValidator(_log)] = Field(
        default="logfmt", description="default: pretty on a terminal, journald under systemd, else logfmt"
    )

    @classmethod
    def load(cls, environment: Mapping[str, str], cwd: Path, *, terminal: bool = False) -> Settings:
        """The settings. `terminal`: whether people read the log there. The key is not read yet.

        Relative paths are below `cwd`. Raises SettingsError with every mistake.
        """
        try:
            given = with_dotenv(environment, cwd)
        except UnavailableError as error:
            raise SettingsError([str(error)]) from None
        surroundings = _Surroundings(cls, given, cwd, terminal)
        values = surroundings()
        mistakes = [*_unknown(given), *surroundings.mistakes]
        try:
            settings = cls(**values)
        except ValidationError as error:
            raise SettingsError([*mistakes, *_in_words(error)]) from None
        if mistakes:
            raise SettingsError(mistakes)
        return settings

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` was given counts: the process's own environment is an argument there."""
        return (init_settings,)


class _Surroundings(PydanticBaseSettingsSource):
    """Where values come from: the variable, the file that `NAME_FILE` names, the credential, or a default.

    `mistakes` are those of the values that could not be had. Relative paths are below `cwd`.
    """

    def __init__(self, settings: type[BaseSettings], given: Mapping[str, str], cwd: Path, terminal: bool) -> None:
        super().__init__(settings)
        self.mistakes: list[str] = []
        self._given = given
        self._cwd = cwd
        self._defaults = _defaults(given, cwd, terminal)

    def __call__(self) -> dict[str, Any]:
        """The values that there are, by field."""
        found = ((name, self._value(name, info)) for name, info in self.settings_cls.model_fields.items())
        return {name: value for name, value in found if value is not None}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The field's value as it is written, None for none. Raises UnavailableError."""
        if field_name == "admin_key":
            return _admin_key(self._given, self._cwd), field_name, False
        text = _text(field_name, self._given) or self._defaults.get(field_name)
        if text is not None and field_name in _PATHS and "://" not in text:
            return self._cwd / text, field_name, False
        return text, field_name, False

    def _value(self, name: str, info: FieldInfo) -> Any:
        try:
            return self.get_field_value(info, name)[0]
        except UnavailableError as error:
            self.mistakes.append(str(error))
            return AdminKey() if name == "admin_key" else self._defaults.get(name)


def variables() -> tuple[str, ...]:
    """Every variable that is a setting, without the `_FILE` forms."""
    return tuple(PREFIX + name.upper() for name in Settings.model_fields)


def _unknown(given: Mapping[str, str]) -> Iterator[str]:
    known = variables()
    for name in sorted(given):
        if name.startswith(PREFIX) and name not in known and name.removesuffix("_FILE") not in known:
            meant = nearest(name.removeprefix(PREFIX), [setting.removeprefix(PREFIX) for setting in known])
            hint = f'; did you mean "{PREFIX}{meant}"?' if meant is not None else ""
            yield f"{name} is not a setting of this version{hint}"


def _defaults(given: Mapping[str, str], cwd: Path, terminal: bool) -> dict[str, str]:
    under_systemd = "journald" if given.get("JOURNAL_STREAM") else "logfmt"
    return {
        "rules": next((path for path in _RULES if (cwd / path).exists()), _RULES[0]),
        "database": f"{_state_folder(given)}/budgetd.db",
        "log": "pretty" if terminal else under_systemd,
    }


def _state_folder(given: Mapping[str, str]) -> str:
    """systemd's folder (the first, when there are several), else the user's (XDG Base Directory)."""
    if given.get("STATE_DIRECTORY"):
        return given["STATE_DIRECTORY"].partition(":")[0]
    home = given.get("XDG_STATE_HOME") or f"{given.get('HOME', '.')}/.local/state"
    return f"{home}/budgetd"


def _text(name: str, given: Mapping[str, str]) -> str | None:
    variable = PREFIX + name.upper()
    path = _only_one(variable, given) or credential(given, name, variable.lower())
    if given.get(variable) or path is None:
        return given.get(variable)
    try:
        return read_text(path)
    except UnavailableError as error:
        raise UnavailableError(f"{variable}: the file {path} {error}") from None


def _only_one(variable: str, given: Mapping[str, str]) -> Path | None:
    """The file that `NAME_FILE` names, if any. Raises UnavailableError when `NAME` is set as well."""
    file = given.get(f"{variable}_FILE")
    if file and given.get(variable):
        raise UnavailableError(f"{variable} and {variable}_FILE are both set; keep one of them")
    return Path(file) if file else None


def _admin_key(given: Mapping[str, str], cwd: Path) -> AdminKey:
    for variable in (f"{PREFIX}ADMIN_KEY", VENDOR_KEY):
        path = _only_one(variable, given)
        if path is not None:
            return AdminKey(path=cwd / path, name=variable)
        if given.get(variable):
            return AdminKey(text=given[variable], name=variable)
    path = credential(given, "admin_key", "budgetd_admin_key")
    if path is not None:
        return AdminKey(path=path, refused_mode=_NOT_PRIVATE_CREDENTIAL, name="the credential admin_key")
    empty = next((variable for variable in (f"{PREFIX}ADMIN_KEY", VENDOR_KEY) if variable in given), None)
    return AdminKey(text="", name=empty) if empty is not None else AdminKey()


def _in_words(error: ValidationError) -> Iterator[str]:
    for details in error.errors(include_url=False, include_input=False):
        context = details.get("ctx", {})
        hint = did_you_mean(context.get("word", ""), context.get("choices", ()))
        yield f"{PREFIX}{str(details['loc'][0]).upper()}: {context.get('message', details['msg'])}{hint}"
