"""How this installation runs: where settings come from, which are refused, and `check`, which says so."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from budgetd.commands import check, schema
from budgetd.settings import Settings, SettingsError, variables
from tests.rules_text import SMALL

CANARY = "sk-ant-admin01-CANARY"
HOME = {"HOME": "/home/somebody"}


def load(cwd: Path, **environment: str) -> Settings:
    return Settings.load({**HOME, **environment}, cwd)


def mistakes(cwd: Path, **environment: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(cwd, **environment)
    assert "CANARY" not in str(caught.value)
    return caught.value.mistakes


def key_file(folder: Path, text: str = f"{CANARY}\n", mode: int = 0o600, name: str = "key") -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(mode)
    return path


# --- defaults ----------------------------------------------------------------------------------


def test_nothing_needs_to_be_set(tmp_path: Path) -> None:
    settings = load(tmp_path)

    assert settings.api_url == "https://api.anthropic.com"
    assert (settings.api_version, settings.api_betas) == ("2023-06-01", ())
    assert settings.rules == tmp_path / "rules.yaml"
    assert settings.database == Path("/home/somebody/.local/state/budgetd/budgetd.db")
    assert (settings.poll_every, settings.heartbeat_url, settings.api_proxy, settings.ca_file) == (None,) * 4
    assert settings.log == "logfmt"
    assert not settings.admin_key.given


@pytest.mark.parametrize(
    ("environment", "database"),
    [
        ({"STATE_DIRECTORY": "/var/lib/budgetd"}, "/var/lib/budgetd/budgetd.db"),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, "/var/lib/a/budgetd.db"),
        ({"XDG_STATE_HOME": "/x"}, "/x/budgetd/budgetd.db"),
        ({"BUDGETD_DATABASE": "/y/b.db", "STATE_DIRECTORY": "/z"}, "/y/b.db"),
    ],
)
def test_the_database_is_in_the_state_folder(environment: dict[str, str], database: str, tmp_path: Path) -> None:
    assert load(tmp_path, **environment).database == Path(database)


def test_relative_paths_start_at_the_working_folder(tmp_path: Path) -> None:
    settings = load(tmp_path, BUDGETD_DATABASE="b.db", BUDGETD_RULES="r.yaml", BUDGETD_CA_FILE="ca.pem")

    assert (settings.database, settings.rules) == (tmp_path / "b.db", tmp_path / "r.yaml")
    assert settings.ca_file == tmp_path / "ca.pem"


@pytest.mark.parametrize(
    ("environment", "terminal", "log"),
    [
        ({}, True, "pretty"),
        ({"JOURNAL_STREAM": "8:1"}, False, "journald"),
        ({"BUDGETD_LOG": "json"}, True, "json"),
        ({"BUDGETD_LOG": ""}, False, "logfmt"),
    ],
)
def test_the_log_suits_its_reader(environment: dict[str, str], terminal: bool, log: str, tmp_path: Path) -> None:
    assert Settings.load({**HOME, **environment}, tmp_path, terminal=terminal).log == log


@pytest.mark.parametrize(
    ("text", "length"), [("90s", timedelta(seconds=90)), ("1m", timedelta(minutes=1)), ("24h", timedelta(days=1))]
)
def test_durations_have_a_unit(text: str, length: timedelta, tmp_path: Path) -> None:
    assert load(tmp_path, BUDGETD_POLL_EVERY=text).poll_every == length


# --- where they come from ----------------------------------------------------------------------


def test_a_dotenv_stands_below_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# for development\nexport BUDGETD_LOG=json\nBUDGETD_POLL_EVERY='5m'  # soon\n\nBUDGETD_API_BETAS=\"a, b-1\"\n"
    )

    settings = load(tmp_path, BUDGETD_LOG="pretty")

    assert settings.log == "pretty"
    assert settings.poll_every == timedelta(minutes=5)
    assert settings.api_betas == ("a", "b-1")


def test_a_broken_line_of_a_dotenv_is_named_by_number_alone(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"BUDGETD_LOG=json\n{CANARY}\n")

    assert mistakes(tmp_path) == (".env:2: expected NAME=value",)


def test_any_setting_can_be_a_file_or_a_credential(tmp_path: Path) -> None:
    (tmp_path / "heartbeat_url").write_text("https://hc.example.com/ping/1\n")
    (tmp_path / "beta").write_text("one\n")

    settings = load(tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path), BUDGETD_API_BETAS_FILE=str(tmp_path / "beta"))

    assert settings.heartbeat_url == "https://hc.example.com/ping/1"
    assert settings.api_betas == ("one",)


# --- the admin key -----------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["BUDGETD_ADMIN_KEY", "ANTHROPIC_ADMIN_KEY"])
def test_the_key_comes_from_a_variable_or_a_file(variable: str, tmp_path: Path) -> None:
    assert load(tmp_path, **{variable: CANARY}).admin_key() == CANARY
    assert load(tmp_path, **{f"{variable}_FILE": str(key_file(tmp_path))}).admin_key() == CANARY


def test_our_own_variable_goes_before_the_vendors(tmp_path: Path) -> None:
    assert load(tmp_path, BUDGETD_ADMIN_KEY="ours", ANTHROPIC_ADMIN_KEY="vendors").admin_key() == "ours"


def test_the_key_is_a_credential_of_systemd_even_where_its_access_list_shows_as_group(tmp_path: Path) -> None:
    key_file(tmp_path, mode=0o440, name="admin_key")

    assert load(tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path)).admin_key() == CANARY


def test_a_rotated_key_counts_without_a_restart(tmp_path: Path) -> None:
    path = key_file(tmp_path)
    settings = load(tmp_path, BUDGETD_ADMIN_KEY_FILE=str(path))
    assert settings.admin_key() == CANARY

    key_file(tmp_path, "new\n")

    assert settings.admin_key() == "new"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o444])
def test_fault_79_a_key_that_others_can_read_is_refused(mode: int, tmp_path: Path) -> None:
    settings = load(tmp_path, BUDGETD_ADMIN_KEY_FILE=str(key_file(tmp_path, mode=mode)))

    with pytest.raises(SettingsError, match=f"can be read by others \\(mode 0{mode:o}\\); make it private: chmod 600"):
        settings.admin_key()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n", "is empty"),
        ("a b", "holds characters that no key has"),
        ("schlüssel", "holds characters"),
        ("a\nb\n", "holds characters"),
    ],
)
def test_what_is_not_a_key_is_refused(text: str, message: str, tmp_path: Path) -> None:
    for settings in (
        load(tmp_path, BUDGETD_ADMIN_KEY_FILE=str(key_file(tmp_path, text))),
        load(tmp_path, BUDGETD_ADMIN_KEY=text),
    ):
        with pytest.raises(SettingsError, match=message):
            settings.admin_key()


def test_without_a_key_the_settings_load_and_the_key_says_how_to_set_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="set BUDGETD_ADMIN_KEY_FILE"):
        load(tmp_path).admin_key()


def test_a_key_file_that_is_gone_is_said_with_its_path(tmp_path: Path) -> None:
    settings = load(tmp_path, BUDGETD_ADMIN_KEY_FILE="gone")

    with pytest.raises(SettingsError, match="gone there is no such file"):
        settings.admin_key()


def test_nothing_that_is_secret_is_shown(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        BUDGETD_ADMIN_KEY=CANARY,
        BUDGETD_HEARTBEAT_URL="https://hc.example.com/CANARY",
        BUDGETD_API_PROXY="http://me:CANARY@proxy.example.com:3128",
    )

    assert "CANARY" not in repr(settings)
    assert "CANARY" not in str(settings)


# --- mistakes ----------------------------------------------------------------------------------


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        BUDGETD_RULS="x",
        BUDGETD_LISTEN="x",
        BUDGETD_POLL_EVERY="soon",
        BUDGETD_LOG="jsn",
        BUDGETD_API_URL=f"http://api.example.com/{CANARY}",
        BUDGETD_ADMIN_KEY=CANARY,
        BUDGETD_ADMIN_KEY_FILE="x",
        BUDGETD_HEARTBEAT_URL_FILE="/nowhere/CANARY".replace("CANARY", "x"),
    )

    assert found == (
        "BUDGETD_LISTEN is not a setting of this version",
        'BUDGETD_RULS is not a setting of this version; did you mean "BUDGETD_RULES"?',
        "BUDGETD_ADMIN_KEY and BUDGETD_ADMIN_KEY_FILE are both set; keep one of them",
        "BUDGETD_HEARTBEAT_URL: the file /nowhere/x there is no such file",
        "BUDGETD_API_URL: plain http only goes to this machine (localhost, 127.0.0.1, [::1]): "
        "the key would be readable",
        "BUDGETD_POLL_EVERY: expected a duration such as 90s, 1m or 1h",
        'BUDGETD_LOG: expected pretty, journald, logfmt, json; did you mean "json"?',
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_URL", "api.example.com"),
        ("API_URL", "ftp://api.example.com"),
        ("API_URL", "https://me:CANARY@api.example.com"),
        ("API_URL", "https://api.example.com?CANARY"),
        ("API_URL", "http://127.0.0.1.example.com"),
        ("API_URL", "http://localhost.example.com"),
        ("API_URL", "https://[::1"),
        ("API_URL", "https://h:99999"),
        ("API_URL", "https://h\r\nX: CANARY"),
        ("API_VERSION", "latest"),
        ("API_BETAS", "a,B C"),
        ("API_PROXY", "socks5://CANARY"),
        ("HEARTBEAT_URL", "CANARY"),
        ("HEARTBEAT_URL", "file:///etc/CANARY"),
        ("STATUS_URL", "status.example.com/CANARY"),
        ("STATUS_URL", "https://me:CANARY@status.example.com"),
        ("STATUS_URL", "https://status.example.com/<CANARY>|x"),
        ("STATUS_URL", 'https://status.example.com/"CANARY'),
        ("STATUS_URL", "javascript://status.example.com/%0aCANARY"),
        ("DATABASE", "postgresql://me:CANARY@db.example.com/x"),
        ("POLL_EVERY", "60"),
        ("POLL_EVERY", "0s"),
        ("POLL_EVERY", "25h"),
        ("POLL_EVERY", "999999h"),
        ("LOG", "CANARY"),
    ],
)
def test_a_bad_value_is_one_mistake_that_does_not_repeat_it(name: str, value: str, tmp_path: Path) -> None:
    (mistake,) = mistakes(tmp_path, **{f"BUDGETD_{name}": value})

    assert mistake.startswith(f"BUDGETD_{name}: ")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:1/x/", "https://api.example.com/v/"]
)
def test_plain_http_goes_to_this_machine_only(url: str, tmp_path: Path) -> None:
    assert load(tmp_path, BUDGETD_API_URL=url).api_url == url.rstrip("/")


def test_every_setting_is_known_by_name_and_has_words() -> None:
    names = "ADMIN_KEY API_URL API_VERSION API_BETAS API_PROXY CA_FILE RULES DATABASE"
    names += " SOURCE POLL_EVERY HEARTBEAT_URL STATUS_URL LOG"

    assert list(variables()) == [f"BUDGETD_{name}" for name in names.split()]
    assert all(field.description for field in Settings.model_fields.values())


# --- commands ----------------------------------------------------------------------------------


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a good rules file and nothing set."""
    for name in (*variables(), "ANTHROPIC_ADMIN_KEY", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.yaml").write_text(SMALL.replace("slack://a/b/c", "json://hooks.example.com/${TOKEN}"))
    (tmp_path / ".env").write_text("TOKEN=x\n")
    return tmp_path


def run_check(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    check.configure(parser)
    return check.run(parser.parse_args(arguments))


def test_check_of_a_good_file_is_a_line(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "rules.yaml").write_text(
        SMALL.replace('pager: "pagerduty://key@budgetd"', 'pager: "json://h.example"')
    )
    (workplace / "rules.yaml").write_text(
        (workplace / "rules.yaml").read_text().replace("slack://a/b/c", "json://${TOKEN}")
    )

    assert run_check() == 0

    output = capsys.readouterr()
    assert output.out == "rules.yaml: 1 rule, 2 channels, 1 route. No mistakes.\n"
    assert "no admin key here" in output.err


def test_check_names_the_mistakes_of_settings_and_rules_together(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BUDGETD_LOG", "loud")
    (workplace / "other.yaml").write_text(SMALL.replace("limit", "limt"))

    assert run_check("other.yaml") == 78

    output = capsys.readouterr().out
    assert "BUDGETD_LOG: expected pretty" in output
    assert 'other.yaml:5:26: unknown key "limt"; did you mean "limit"?' in output


def test_check_explains_a_url_that_no_service_has(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "rules.yaml").write_text(SMALL.replace("slack://a/b/c", "slakc://xoxb-CANARY"))

    assert run_check() == 78

    output = capsys.readouterr().out
    assert output.startswith("rules.yaml:2:18: ")
    assert "CANARY" not in output


def test_schema_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    schema.configure(parser)

    assert schema.run(parser.parse_args([])) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "budgetd rules"


@pytest.mark.parametrize("command", [check, schema])
def test_help_has_an_example_and_loads_nothing_heavy(command: object) -> None:
    name = command.__name__  # type: ignore[attr-defined]
    code = f"""
import argparse, importlib, sys
parser = argparse.ArgumentParser()
importlib.import_module({name!r}).configure(parser)
assert "example:" in parser.format_help()
print([heavy for heavy in ("pydantic", "yaml", "apprise", "httpx", "budgetd.settings") if heavy in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout == "[]\n"
