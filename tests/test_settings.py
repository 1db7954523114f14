"""Settings: where they come from, and how a wrong one is told.

Tests of `errors` and `invalid_settings`, too.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from voice_agent.errors import SettingsError
from voice_agent.kit.naming import SETTINGS_PREFIX
from voice_agent.settings import (
    Settings,
    agent_variables,
    check_names,
    environment_of_child,
    known_names,
    load_settings,
)
from voice_agent.stores.embedded import EmbeddedStore

DESIGNED = (
    "COLOR POD HOST PORT STORE_URL CALL_TTL RESUME_WINDOW MAX_CALLS MAX_CALL_SECONDS DRAIN_MODE DRAIN_DEADLINE "
    "INPUT_CHECKPOINT_MS OUTBOX_BYTES AGENT API_KEYS REVOKED_API_KEYS SECRET ADMIN_TOKEN ALLOWED_ORIGINS LOG_FORMAT"
).split()


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith(("VOICE_", "XDG_"))]:
        monkeypatch.delenv(name)


def refusal(**arguments: object) -> str:
    """The line with which these settings are refused."""
    with pytest.raises(SettingsError) as caught:
        load_settings(**arguments)  # type: ignore[arg-type]
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_every_designed_setting_exists_with_its_default() -> None:
    """The names and defaults that operators rely on are those of the design."""
    assert {f"VOICE_{name}" for name in DESIGNED} <= set(known_names())
    settings, warnings = load_settings()
    assert warnings == []
    assert (settings.color, settings.host, settings.port, settings.store_url) == (
        "blue",
        "127.0.0.1",
        8080,
        "embedded://",
    )
    assert (settings.call_ttl, settings.resume_window, settings.max_call_seconds) == (1800, 120, 3600)
    assert (settings.drain_mode, settings.drain_deadline, settings.input_checkpoint_ms) == ("handoff", 600, 200)
    assert settings.outbox_bytes == 1024 * 1024


def test_every_setting_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """VOICE_ and a name in capitals sets the field; lists are split at commas."""
    monkeypatch.setenv("VOICE_PORT", "9000")
    monkeypatch.setenv("VOICE_COLOR", "green")
    monkeypatch.setenv("VOICE_API_KEYS", "first-key, second-key,")
    monkeypatch.setenv("VOICE_ALLOWED_ORIGINS", "https://App.example.com,http://localhost:3000")
    settings, _ = load_settings()
    assert (settings.port, settings.color) == (9000, "green")
    assert [key.get_secret_value() for key in settings.api_keys] == ["first-key", "second-key"]
    assert settings.allowed_origins == ("https://app.example.com", "http://localhost:3000")


@pytest.mark.parametrize("url", [None, "embedded://"])
def test_the_embedded_store_is_where_the_user_has_programs_keep_their_state(
    url: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the XDG Base Directory Specification has it: unset, that is `~/.local/state`; a relative path is none."""

    def folder() -> Path:
        return EmbeddedStore(load_settings(store_url=url)[0].store_url, ttl_s=9)._dir

    monkeypatch.setenv("HOME", str(tmp_path))
    unset = folder()
    for state_home, expected in {
        f"{tmp_path}/my state%20": tmp_path / "my state%20" / "voice-agent" / "store",
        f"{tmp_path}/.local/state": unset,
        "relative": unset,
        "": unset,
    }.items():
        monkeypatch.setenv("XDG_STATE_HOME", state_home)
        assert folder() == expected
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    unset.mkdir(parents=True)
    assert folder() == unset, "what is there already stays"
    assert load_settings(store_url="embedded:///mine")[0].store_url == "embedded:///mine"


def test_an_argument_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command-line option wins; one that was not given changes nothing."""
    monkeypatch.setenv("VOICE_PORT", "9000")
    assert load_settings(port=9100)[0].port == 9100
    assert load_settings(port=None)[0].port == 9000


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """`VOICE_SECRET=` in a template means that there is none."""
    monkeypatch.setenv("VOICE_SECRET", "")
    monkeypatch.setenv("VOICE_PORT", "")
    settings, _ = load_settings()
    assert settings.secret is None
    assert settings.port == 8080


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PORT", "70000", "VOICE_PORT: 70000 is too large; allowed: 1–65535."),
        ("PORT", "tcp://10.0.0.1:80", "VOICE_PORT: tcp://10.0.0.1:80 is not a whole number; allowed: 1–65535."),
        ("DRAIN_MODE", "quickly", "VOICE_DRAIN_MODE: quickly is not known; allowed: handoff, finish."),
        ("LOG_FORMAT", "xml", "VOICE_LOG_FORMAT: xml is not known; allowed: json, console."),
        ("COLOR", "two words", "VOICE_COLOR: two words is not a label (letters, digits, '.', '_' and '-')."),
        ("COLOR", "b" * 33, f"VOICE_COLOR: {'b' * 33} is too long; allowed: at most 32 characters."),
        ("CALL_TTL", "-1", "VOICE_CALL_TTL: -1 is too small; allowed: 10–604800."),
        ("IDLE_TIMEOUT", "soon", "VOICE_IDLE_TIMEOUT: soon is not a number"),
        ("ALLOWED_ORIGINS", "example.com", "VOICE_ALLOWED_ORIGINS: 'example.com' is not an origin"),
    ],
)
def test_a_wrong_value_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str) -> None:
    """The line names the variable, the value and what is allowed."""
    monkeypatch.setenv(f"VOICE_{name}", value)
    assert refusal().startswith(words)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"port": 70000}, "--port: 70000 is too large; allowed: 1–65535."),
        ({"log_format": "xml"}, "--log-format: xml is not known; allowed: json, console."),
        ({"store_url": ""}, "--store: the value is empty."),
    ],
)
def test_a_wrong_option_is_told_by_its_own_name(
    monkeypatch: pytest.MonkeyPatch, option: dict[str, object], words: str
) -> None:
    """Whoever typed it looks there, and not among the variables."""
    monkeypatch.setenv("VOICE_PORT", "9000")
    assert refusal(**option) == words


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1:8080"),
        ("0.0.0.0", "127.0.0.1:8080"),
        ("::", "[::1]:8080"),
        ("10.0.0.5", "10.0.0.5:8080"),
        ("fd00::1", "[fd00::1]:8080"),
    ],
)
def test_a_pod_is_reached_from_its_own_machine(host: str, address: str) -> None:
    """At an address that may stand in a URL, wherever it listens."""
    assert load_settings(insecure=True, host=host)[0].address == address


@pytest.mark.parametrize(
    ("written", "meant"),
    [("VOICE_API_KEY", "VOICE_API_KEYS"), ("VOICE_ADMIN_TOKN", "VOICE_ADMIN_TOKEN"), ("VOICE_COLOUR", "VOICE_COLOR")],
)
def test_a_misspelt_variable_stops_the_start(monkeypatch: pytest.MonkeyPatch, written: str, meant: str) -> None:
    """A key that is silently ignored would leave the server open, so a near miss is an error."""
    monkeypatch.setenv(written, "something")
    assert refusal() == f"{written} is not a setting; did you mean {meant}?"


def test_the_callers_key_may_stand_beside_the_servers() -> None:
    """`voice-agent call` reads VOICE_API_KEY; a server that has keys of its own does not mind it."""
    assert check_names(["VOICE_API_KEY", "VOICE_API_KEYS_FILE"]) == []


def test_the_routers_key_may_stand_beside_the_servers_settings() -> None:
    """`voice-agent cutover` reads VOICE_COLOR_KEY, also where a server runs."""
    assert check_names(["VOICE_COLOR_KEY", "VOICE_COLOR"]) == []


def test_an_unrelated_variable_is_only_warned_of() -> None:
    """What Kubernetes adds for services must not stop a pod."""
    (warning,) = check_names(["VOICE_CHAT_SERVICE_HOST", "PATH"])
    assert warning.startswith("VOICE_CHAT_SERVICE_HOST is not a setting and is ignored; the nearest name is VOICE_")


def test_variables_of_agents_are_left_to_those_who_know_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which mean something, is known once the agents are; an empty one counts as unset, and VOICE_AGENT is ours."""
    monkeypatch.setenv("VOICE_AGENT", "echo")
    monkeypatch.setenv("VOICE_AGENT_DESK_LIMIT", "3")
    monkeypatch.setenv("VOICE_AGENT_DESK_EMPTY", "")
    settings, warnings = load_settings()
    assert (settings.agent, warnings) == (("echo",), [])
    assert agent_variables() == {"VOICE_AGENT_DESK_LIMIT": "3"}
    assert not [name for name in known_names() if name.startswith(SETTINGS_PREFIX)]
    monkeypatch.setenv("VOICE_AGENTS", "echo")
    assert refusal() == "VOICE_AGENTS is not a setting; did you mean VOICE_AGENT?"


def test_a_secret_can_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`VOICE_…_FILE` names a file whose trailing line end is not part of the secret; keys are one a line."""
    (tmp_path / "secret").write_text("a long and secret word\n")
    (tmp_path / "keys").write_text("first-key\nsecond-key\n")
    (tmp_path / "revoked").write_text("old-key\nolder-key\n")
    monkeypatch.setenv("VOICE_SECRET_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("VOICE_API_KEYS_FILE", str(tmp_path / "keys"))
    monkeypatch.setenv("VOICE_REVOKED_API_KEYS_FILE", str(tmp_path / "revoked"))
    settings, _ = load_settings()
    assert settings.secret is not None
    assert settings.secret.get_secret_value() == "a long and secret word"
    assert [key.get_secret_value() for key in settings.api_keys] == ["first-key", "second-key"]
    assert [key.get_secret_value() for key in settings.revoked_api_keys] == ["old-key", "older-key"]


def test_a_secret_file_that_is_not_there_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Running without the secret the operator meant to give would be worse than not running."""
    monkeypatch.setenv("VOICE_ADMIN_TOKEN_FILE", "/nowhere/token")
    assert refusal() == "VOICE_ADMIN_TOKEN_FILE: cannot read '/nowhere/token': No such file or directory."


def test_a_secret_given_twice_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody should have to guess which of the two is in force."""
    monkeypatch.setenv("VOICE_SECRET", "one")
    monkeypatch.setenv("VOICE_SECRET_FILE", "/nowhere")
    assert refusal() == "VOICE_SECRET and VOICE_SECRET_FILE are both set; keep one of them."


def test_an_empty_secret_file_stops_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty secret would sign tokens that anybody can make."""
    (tmp_path / "secret").write_text("\n")
    monkeypatch.setenv("VOICE_SECRET_FILE", str(tmp_path / "secret"))
    assert refusal() == "VOICE_SECRET: is empty."


def test_listening_beyond_loopback_needs_keys_and_secret() -> None:
    """An open server on the network is refused unless it is asked for by name."""
    assert "VOICE_API_KEYS and VOICE_SECRET must be set; or start with --insecure" in refusal(host="0.0.0.0")
    assert "VOICE_SECRET must be set" in refusal(host="::", api_keys="key-of-a-caller")
    assert load_settings(host="0.0.0.0", insecure=True)[0].host == "0.0.0.0"
    protected, _ = load_settings(host="0.0.0.0", api_keys="key-of-a-caller", secret="a long and secret word")
    assert not protected.listens_on_loopback


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback_needs_no_protection(host: str) -> None:
    """On one's own machine the server starts with no settings at all."""
    assert load_settings(host=host)[0].listens_on_loopback


def test_secrets_print_as_stars() -> None:
    """Neither the settings nor an error about them show a secret."""
    settings, _ = load_settings(
        api_keys="key-of-a-caller",
        revoked_api_keys="key-of-a-thief",
        secret="a long and secret word",
        admin_token="opens-admin",
        store_url="redis://:opens-store@host",
    )
    shown = repr(settings) + str(settings)
    secrets = ("key-of-a-caller", "key-of-a-thief", "a long and secret word", "opens-admin", "opens-store")
    assert not any(word in shown for word in secrets)


def test_a_short_secret_is_warned_of() -> None:
    """A secret that can be guessed lets strangers take calls over."""
    _, warnings = load_settings(secret="short")
    assert warnings == ["VOICE_SECRET is short and can be guessed; use at least 16 characters."]


def test_settings_do_not_change() -> None:
    """What a pod was started with holds until it ends."""
    settings, _ = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1  # type: ignore[misc]  # this is what is tried
    assert isinstance(settings, Settings)


def test_a_child_gets_this_environment_without_our_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod that another command starts is set up by that command alone."""
    monkeypatch.setenv("VOICE_COLOR", "green")
    monkeypatch.setenv("OF_NO_CONCERN", "kept")
    found = environment_of_child(port=8081, agent="echo")
    assert found["OF_NO_CONCERN"] == "kept"
    assert {name: value for name, value in found.items() if name.startswith("VOICE_")} == {
        "VOICE_PORT": "8081",
        "VOICE_AGENT": "echo",
    }


def test_workers_that_share_a_port_tell_no_address() -> None:
    """A caller that is sent there would get any of them."""
    assert Settings(advertise_address="10.0.3.7").advertised == "ws://10.0.3.7:8080"
    assert Settings(advertise_address="10.0.3.7", workers=2).advertised == ""
    assert Settings(advertise_address="10.0.3.7", workers=0).advertised == ""
