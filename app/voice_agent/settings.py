"""Settings: the only place that reads the environment.

Every name is ``VOICE_`` and a field of `Settings` in capitals; a secret may also come from
a file named by ``VOICE_<NAME>_FILE``. A wrong value stops the start with one line.
"""

from __future__ import annotations

import difflib
import os
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from secrets import token_hex
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from voice_agent.call.closing import moved_to
from voice_agent.call.drain import DrainMode
from voice_agent.errors import SettingsError
from voice_agent.invalid_settings import HIDDEN, line
from voice_agent.kit.naming import LABEL, SETTINGS_PREFIX

PREFIX = "VOICE_"
EDGE_PREFIX = "VOICE_EDGE_"
FILE_SUFFIX = "_FILE"
KIB = 1024
MIB = 1024 * KIB
HOURS = 3600
DAYS = 24 * HOURS
SHORT_SECRET = 16
"""A signing secret of fewer characters is taken with a warning."""

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # only compared
"""Hosts that mean every address, and the one of them that a client on the same machine uses."""

EMBEDDED = "embedded://"
"""The embedded store, in the user's own folder."""
STATE_HOME = "XDG_STATE_HOME"
UNSET_STORE = "~/.local/state/voice-agent/store"
"""Where the embedded store is without that variable."""
NO_LABEL = "is not a label (letters, digits, '.', '_' and '-')"


class TlsFiles(NamedTuple):
    """Where a server finds what it speaks TLS with, in PEM form."""

    certificate: Path
    """And those of the authorities between it and one that callers trust."""
    key: Path
    prefix: str
    """Of the variables that name them."""


def tls_files(certificate: Path | None, key: Path | None, prefix: str) -> TlsFiles | None:
    """None without TLS. Raises `SettingsError` if only one of the two is set."""
    if certificate is not None and key is not None:
        return TlsFiles(certificate, key, prefix)
    if certificate is not None or key is not None:
        given, missing = ("CERT", "KEY") if certificate is not None else ("KEY", "CERT")
        raise SettingsError(f"{prefix}TLS_{given} is set and {prefix}TLS_{missing} is not; TLS needs both.")
    return None


def check_networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    """As they are. Raises `ValueError` if one is no address or network."""
    for network in networks:
        try:
            ip_network(network, strict=False)
        except ValueError:
            raise ValueError(f"{network!r} is no address or network such as 10.0.0.0/8") from None
    return networks


class Settings(BaseSettings):
    """Everything an operator can set. Durations are seconds, sizes bytes, unless the name says otherwise."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    color: Annotated[str, Field(pattern=LABEL, max_length=32)] = "blue"
    """Which of the two deployments this pod belongs to; any short label."""
    pod: Annotated[str, Field(pattern=LABEL, max_length=128)] = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}-{token_hex(2)}"
    )
    """This process' name in the fleet; unset: host name, process id and a random part."""
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Address to listen on; anything but loopback needs `API_KEYS` and `SECRET`."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    """Port to listen on."""
    advertise_address: str = ""
    """Name or address, and port if it is another, at which edges reach this very pod; unset: `HOST` if it is one."""
    node: Annotated[str, Field(pattern=rf"{LABEL}|^$", max_length=200)] = ""
    """The machine that this pod runs on, by which operators name all of its pods."""
    tls_cert: Path | None = None
    """Certificates in PEM form, its own first: TLS is spoken then; a new pair of files is taken as it comes."""
    tls_key: Path | None = None
    """Their key in PEM form, without a passphrase."""
    pod_deletion_cost: Annotated[str, Field(pattern=rf"{LABEL}|^$", max_length=253)] = ""
    """This pod's name in Kubernetes, which is told there how many calls it has; unset: nobody is told."""
    workers: Annotated[int, Field(ge=0, le=256)] = 1
    """Server processes on this port, each a pod of its own called `<pod>-1`, `<pod>-2`, …; 0 is one per core."""
    store_url: Annotated[str, Field(min_length=1, repr=False, validate_default=True)] = EMBEDDED
    """Where calls are kept: `embedded://`, `redis://`, `redis+sentinel://`, … (docs/store.md lists all)."""
    key_prefix: Annotated[str, Field(max_length=64)] = ""
    """What stands before all keys in the store, without braces, so that two installations can share one."""
    call_ttl: Annotated[int, Field(ge=10, le=7 * DAYS)] = 1800
    """How long the store keeps a call after its last sign of life, in seconds."""
    retention: Annotated[int | None, Field(ge=0, le=7 * DAYS)] = None
    """How long the conversation of a call that has ended is kept, in seconds, `CALL_TTL` at most; 0 keeps none."""
    resume_window: Annotated[int, Field(ge=1, le=1 * DAYS)] = 120
    """How long a call whose connection broke waits for its caller, in seconds."""
    max_calls: Annotated[int, Field(ge=1, le=100_000)] = 200
    """Calls that may be attached to this pod at once; with several `WORKERS`, to each of them."""
    max_calls_per_key: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Calls that one API key may have at once on all pods, attached or waiting to be resumed; 0 is no limit."""
    overload_lag_ms: Annotated[int, Field(ge=0, le=10_000)] = 25
    """A pod whose event loop lags by more milliseconds for 3 s takes no new calls until it is calm; 0 is never."""
    max_call_seconds: Annotated[int, Field(ge=1, le=1 * DAYS)] = 3600
    """The longest a call may last."""
    idle_timeout: Annotated[float, Field(ge=0, le=1 * DAYS)] = 600
    """A caller who sends nothing at all for so many seconds is closed with 4408; 0 is never."""
    max_message_bytes: Annotated[int, Field(ge=64 * KIB, le=64 * MIB)] = 21 * MIB
    """A longer WebSocket message is closed with 1009."""
    caller_bytes: Annotated[int, Field(ge=16 * MIB, le=64 * 1024 * MIB)] = 256 * MIB
    """What all callers together may make this pod hold beside the outboxes, in bytes; those of one API key half."""
    drain_mode: DrainMode = DrainMode.HANDOFF
    """What a drain does with attached calls: `handoff` to another pod, or let them `finish`."""
    drain_deadline: Annotated[int, Field(ge=0, le=1 * DAYS)] = 600
    """After so many seconds of a drain, whatever is left is closed with 1012."""
    input_checkpoint_ms: Annotated[int, Field(ge=0, le=10_000)] = 200
    """How often speech under way is saved, in milliseconds; 0 is never."""
    outbox_bytes: Annotated[int, Field(ge=0, le=1024 * MIB)] = 1 * MIB
    """How much of a call's recent events is kept for replay; 0 keeps none."""
    record_inputs: Path | None = None
    """A folder in which everything that happens to calls is recorded, what is said included; unset: nothing is."""
    agent: Annotated[tuple[str, ...], NoDecode] = ()
    """Agents beside `echo` and `loopback`: names, `file.py:Class`, separated by commas; the first is the default."""
    reload: bool = False
    """Agents from files, or of editable packages, are loaded anew when these change; calls go on under the new ones."""
    speech_workers: Annotated[int, Field(ge=0, le=256)] = 0
    """Processes for hearing and speaking; 0 is as many as fit the machine."""
    whisper_model: Path | None = None
    """A folder with a Whisper model for CTranslate2, for example a multilingual one; unset: English, of `natural`."""
    piper_voice: Path | None = None
    """The file of a voice (.onnx) for Piper, its .onnx.json beside it; unset: the one of the extra `piper`."""
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Keys that may start calls, separated by commas; empty: no key is asked for."""
    revoked_api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Keys that may start no call any more, and whose calls may not be resumed, separated by commas."""
    secret: SecretStr | None = None
    """Signs resume tokens, the same on every pod; unset: the pods of a store agree on one by themselves."""
    admin_token: SecretStr | None = None
    """Opens `/admin`; unset: only loopback may."""
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses and networks, with commas, whose `X-Forwarded-For` or PROXY protocol tells who calls."""
    connects_per_minute: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """How often one address may connect in a minute; 0 is six times `MAX_CALLS`, at least 600."""
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Web pages of other hosts that may connect, such as `https://app.example.com`, separated by commas; `*` is all."""
    log_format: Literal["json", "console"] = "json"
    """How log lines look: `json`, or `console` for a terminal."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important log lines to write: `debug`, `info`, `warning` or `error`."""

    @field_validator("agent", "api_keys", "revoked_api_keys", "allowed_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part for part in (piece.strip() for piece in value.split(",")) if part)
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            parts = urlsplit(origin)
            if origin != "*" and (not parts.scheme or not parts.netloc or parts.path or parts.query):
                raise ValueError(f"{origin!r} is not an origin such as https://app.example.com")
        return tuple(origin.lower() for origin in origins)

    _check_networks = field_validator("trusted_proxies")(check_networks)

    @field_validator("advertise_address")
    @classmethod
    def _check_advertised(cls, given: str) -> str:
        if given and not moved_to(advertised(given, 1)):
            raise ValueError(f"{given!r} is no name or address such as 10.0.3.7 or 10.0.3.7:8080")
        return given

    @field_validator("store_url")
    @classmethod
    def _place(cls, url: str) -> str:
        """The embedded store's folder, where the user says where programs keep what they remember."""
        state_home = Path(os.environ.get(STATE_HOME, ""))
        # A relative path counts as none: XDG Base Directory Specification. A store that is there already stays: pods
        # of a version that did not read the variable have their calls in it.
        if url != EMBEDDED or not state_home.is_absolute() or _is_store(UNSET_STORE):
            return url
        return EMBEDDED + quote(str(state_home / "voice-agent" / "store"))

    @field_validator("key_prefix")
    @classmethod
    def _check_prefix(cls, prefix: str) -> str:
        if set("{}") & set(prefix) or prefix.split() != [prefix] * bool(prefix):
            raise ValueError(f"{prefix!r} holds a brace or a space; braces say which slot of a cluster a key is in")
        return prefix

    @field_validator("secret", "admin_token")
    @classmethod
    def _check_filled(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and not secret.get_secret_value().strip():
            raise ValueError("is empty")
        return secret

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments beat the environment, which beats secret files."""
        return init_settings, env_settings, SecretFiles(settings_cls)

    @property
    def tls(self) -> TlsFiles | None:
        """None without TLS. Raises `SettingsError` if half of it is set."""
        return tls_files(self.tls_cert, self.tls_key, PREFIX)

    @property
    def http_url(self) -> str:
        """This machine's own pod."""
        return f"{'https' if self.tls else 'http'}://{self.address}"

    @property
    def ws_url(self) -> str:
        """The same, for calls, without a path."""
        return f"{'wss' if self.tls else 'ws'}://{self.address}"

    @property
    def listens_on_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)

    @property
    def listens_everywhere(self) -> bool:
        """Whether every address of this machine answers."""
        return self.host in EVERYWHERE

    @property
    def advertised(self) -> str:
        """Where edges reach this very pod, as a URL without a path; "" is not known.

        Loopback is none: it is another machine's as well; nor is a port that several workers share.
        """
        host = "" if self.listens_everywhere or self.listens_on_loopback else self.host
        given = (self.advertise_address or host) if self.workers == 1 else ""
        return given and advertised(given, self.port, "wss" if self.tls else "ws")

    @property
    def address(self) -> str:
        """Host and port of this machine's own pod, as they stand in a URL on the same machine."""
        host = EVERYWHERE.get(self.host, self.host)
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


def advertised(given: str, port: int, scheme: str = "ws") -> str:
    """The URL of a host, with `port` unless it has one."""
    if given.count(":") > 1 and not given.startswith("["):
        given = f"[{given}]"  # an address of IPv6
    has_port = re.search(r":\d+$", given.rpartition("]")[2])
    return f"{scheme}://{given}" if has_port else f"{scheme}://{given}:{port}"


KEY_LISTS = frozenset({"api_keys", "revoked_api_keys"})
"""In a file one a line."""
SECRETS = frozenset({"secret", "admin_token", "store_url"}) | KEY_LISTS
"""May come from a file and are never shown; the store's URL holds its password."""


def read_secret(variable: str, environment: Mapping[str, str]) -> str | None:
    """The content of the file that ``<variable>_FILE`` names, without the line end at its end; None: it names none.

    Raises `SettingsError` for a file that cannot be read, and if the secret is set by itself too.
    """
    path = environment.get(variable + FILE_SUFFIX)
    if not path:
        return None
    if environment.get(variable):
        raise SettingsError(f"{variable} and {variable}{FILE_SUFFIX} are both set; keep one of them.")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"{variable}{FILE_SUFFIX}: cannot read {path!r}: {reason}.") from error


class SecretFiles(PydanticBaseSettingsSource):
    """Reads secrets from the files that ``VOICE_<NAME>_FILE`` names; a line end at the file's end is not part of it."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The content of the file for one field; None when no file is named."""
        text = read_secret(PREFIX + field_name.upper(), os.environ) if field_name in SECRETS else None
        if text is None:
            return None, field_name, False
        return text.replace("\n", ",") if field_name in KEY_LISTS else text, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Every secret that comes from a file."""
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


def load_settings(
    *, insecure: bool = False, for_server: bool = True, **arguments: object
) -> tuple[Settings, list[str]]:
    """The settings of this process, and warnings about them to be logged.

    `arguments` beat the environment unless they are None. Raises `SettingsError`, whose
    text is one line, for a wrong value and, `for_server`, for a misspelt variable and for
    listening beyond loopback unprotected without `insecure`.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    warnings = check_names(os.environ) if for_server else []
    try:
        settings = Settings(**given)  # type: ignore[arg-type]  # checked by pydantic
    except ValidationError as error:
        raise SettingsError(describe(error, given)) from None
    if for_server and not insecure:
        refuse_exposed(settings)
    if settings.secret is not None and len(settings.secret.get_secret_value()) < SHORT_SECRET:
        warnings.append(f"VOICE_SECRET is short and can be guessed; use at least {SHORT_SECRET} characters.")
    return settings, warnings


def environment_of_child(**settings: object) -> dict[str, str]:
    """This process' environment with these settings and none of its own, for a pod or command that it starts."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return {**kept, **{PREFIX + name.upper(): str(value) for name, value in settings.items()}}


def agent_variables() -> dict[str, str]:
    """What the environment says to agents, by the whole name of each variable; an empty one counts as unset."""
    return {name: value for name, value in os.environ.items() if name.startswith(SETTINGS_PREFIX) and value}


def known_names() -> list[str]:
    """Every variable that means something, in the order of `Settings`."""
    names: list[str] = []
    for field in Settings.model_fields:
        names.append(PREFIX + field.upper())
        if field in SECRETS:
            names.append(PREFIX + field.upper() + FILE_SUFFIX)
    return names


CALLERS_KEY = "VOICE_API_KEY"
"""The key that `voice-agent call` shows; beside the server's own keys it is no misspelling of them."""
ROUTERS_KEY = "VOICE_COLOR_KEY"
"""The key that `voice-agent smoke` and `cutover` show to the router; a server beside them does not mind it."""
SERVERS_KEYS = frozenset({"VOICE_API_KEYS", "VOICE_API_KEYS_FILE"})


def check_names(environment: Iterable[str]) -> list[str]:
    """Warnings about ``VOICE_`` variables that mean nothing; raises `SettingsError` for one that looks misspelt.

    Others are only warned of, for Kubernetes puts variables such as ``VOICE_STORE_SERVICE_HOST`` into every container
    beside a service of that name. Those of agents are judged when these are known: see `agent_settings`.
    """
    known = known_names()
    present = sorted(name for name in environment if name.upper().startswith(PREFIX))
    warnings: list[str] = []
    for name in present:
        if (
            name in known
            or name.startswith((EDGE_PREFIX, SETTINGS_PREFIX))
            or name == ROUTERS_KEY
            or (name == CALLERS_KEY and not SERVERS_KEYS.isdisjoint(present))
        ):
            continue
        if (near := misspelt(name, known)) is not None:
            raise SettingsError(f"{name} is not a setting; did you mean {near}?")
        nearest = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0)[0]
        warnings.append(f"{name} is not a setting and is ignored; the nearest name is {nearest}.")
    return warnings


def misspelt(name: str, known: Sequence[str]) -> str | None:
    """Which of the known names `name` looks like; None if like none of them."""
    return next(iter(difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.85)), None)


def refuse_exposed(settings: Settings) -> None:
    """Raise `SettingsError` if others could connect while no key or secret protects the server."""
    if settings.listens_on_loopback:
        return
    missing = [name for name in ("API_KEYS", "SECRET") if not getattr(settings, name.lower())]
    if missing:
        names = " and ".join(PREFIX + name for name in missing)
        raise SettingsError(
            f"VOICE_HOST: {settings.host} can be reached from other machines, so {names} must be set; "
            "or start with --insecure."
        )


def _is_store(folder: str) -> bool:
    try:
        return Path(folder).expanduser().is_dir()
    except RuntimeError:
        return False  # A user without a home.


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine only; `::ffff:127.0.0.1` is 127.0.0.1, as on every socket."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return False
    # Before Python 3.13 an IPv4 address written as IPv6 was not seen through.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


OPTIONS = {"store_url": "--store"}
"""Options of the command line that are not called like their setting."""


def describe(error: ValidationError, given: Mapping[str, object]) -> str:
    """One line for the first thing that is wrong: its variable or option, its value unless secret, what is allowed."""
    first = error.errors(include_url=False, include_context=True)[0]
    field = str(first["loc"][0])
    variable = PREFIX + field.upper()
    value = given.get(field, os.environ.get(variable, ""))
    if field in given:
        variable = OPTIONS.get(field) or "--" + field.replace("_", "-")
    shown = HIDDEN if field in SECRETS else str(value)
    return line(variable, first, shown, Settings, {"string_pattern_mismatch": NO_LABEL})
