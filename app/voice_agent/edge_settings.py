"""Settings of an edge: ``VOICE_EDGE_`` and a field of `EdgeSettings` in capitals, or an option of the command."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from secrets import token_hex
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from voice_agent.call.drain import DrainMode
from voice_agent.errors import SettingsError
from voice_agent.kit.naming import LABEL
from voice_agent.settings import DAYS, EDGE_PREFIX, HOURS, KIB, MIB, PREFIX, TlsFiles, check_networks, tls_files


class EdgeSettings(BaseSettings):
    """Everything an operator can set of an edge: ``VOICE_EDGE_`` and the name in capitals, or an option."""

    model_config = SettingsConfigDict(
        env_prefix=EDGE_PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
        populate_by_name=True,
    )

    to: Annotated[tuple[str, ...], NoDecode, Field(min_length=1)]
    """Where pods are: `ws://` or `wss://`, host and port of a load balancer; several, with commas, take turns."""
    name: Annotated[str, Field(pattern=LABEL, max_length=128)] = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}-{token_hex(2)}"
    )
    """This process' name; unset: host name, process id and a random part."""
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    """Port to listen on."""
    direct: bool = True
    """A pod that hands a call off may name the one that is to go on, which is asked first, past the load balancer."""
    tls_cert: Path | None = None
    """Certificates in PEM form, its own first: TLS is spoken then; a new pair of files is taken as it comes."""
    tls_key: Path | None = None
    """Their key in PEM form, without a passphrase."""
    max_calls: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Callers' connections that may be held at once."""
    overload_lag_ms: Annotated[int, Field(ge=0, le=10_000)] = 25
    """With an event loop that is later than this for 3 s no new calls are taken, resumes are; 0: never refuse."""
    patience: Annotated[float, Field(ge=1, le=HOURS)] = 30
    """After so many seconds in which no pod could be had, a caller is closed with 1013."""
    max_message_bytes: Annotated[int, Field(ge=64 * KIB, le=64 * MIB)] = 21 * MIB
    """A longer WebSocket message is closed with 1009."""
    caller_bytes: Annotated[int, Field(ge=16 * MIB, le=64 * 1024 * MIB)] = 256 * MIB
    """What incomplete messages of all callers may take, in bytes; those of one address half."""
    drain_mode: DrainMode = DrainMode.HANDOFF
    """When the edge leaves: callers who can come back by themselves are sent away (`handoff`), or all may `finish`."""
    drain_deadline: Annotated[int, Field(ge=0, le=1 * DAYS)] = 600
    """After so many seconds of a drain, whoever is left is closed with 1012."""
    trusted_proxies: Annotated[
        tuple[str, ...], NoDecode, Field(validation_alias=AliasChoices("trusted_proxies", f"{PREFIX}TRUSTED_PROXIES"))
    ] = ()
    """`VOICE_TRUSTED_PROXIES`, as of pods: whose word on where callers connect from is believed."""
    connects_per_minute: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """How often one address may connect in a minute; 0 is six times `MAX_CALLS`, at least 600."""
    log_format: Literal["json", "console"] = "json"
    """How log lines look: `json`, or `console` for a terminal."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important log lines to write: `debug`, `info`, `warning` or `error`."""

    @property
    def tls(self) -> TlsFiles | None:
        """None without TLS. Raises `SettingsError` if half of it is set."""
        return tls_files(self.tls_cert, self.tls_key, EDGE_PREFIX)

    @field_validator("to", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    _check_networks = field_validator("trusted_proxies")(check_networks)

    @field_validator("to")
    @classmethod
    def _check_addresses(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            parts = urlsplit(address)
            if (
                parts.scheme not in ("ws", "wss")
                or not parts.hostname
                or not _has_valid_port(parts)
                or parts.path.strip("/")
                or parts.query
            ):
                raise ValueError(f"{address!r} is not an address such as ws://lb:8080")
        return addresses


def _has_valid_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def load_edge_settings(**arguments: object) -> EdgeSettings:
    """The settings of an edge; `arguments` beat the environment unless they are None. Raises `SettingsError`."""
    given = {name: value for name, value in arguments.items() if value is not None}
    try:
        return EdgeSettings(**given)  # type: ignore[arg-type]  # checked by pydantic
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0])
        prefix = PREFIX if EdgeSettings.model_fields[field].validation_alias else EDGE_PREFIX
        name = f"--{field.replace('_', '-')}" if field in given else prefix + field.upper()
        missing = "must be set, such as ws://lb:8080" if first["type"] == "missing" else ""
        raise SettingsError(f"{name}: {missing or first['msg'].removeprefix('Value error, ')}.") from None
