"""Where a model is: an address, a key, and how long it may take."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com", ".azure-api.net")
"""Hosts that take a key in the header ``api-key``."""
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VISIBLE = re.compile(r"[\x21-\x7e]+")
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*")
UNNAMED = "provider"
"""The label of one whose host can be none."""
MAX_NAME_CHARS = 128
"""Of a label in metrics."""

Seconds = Annotated[float, Field(gt=0, le=3600)]


def checked_key(text: str) -> SecretStr:
    """What can be sent as a key, without blanks around it. Raises `ValueError`."""
    if VISIBLE.fullmatch(text := text.strip()) is None:
        raise ValueError("is empty, or holds a character that no key has")
    return SecretStr(text)


class Endpoint(BaseModel):
    """A model of a provider. Two with the same `name`, `url` and `model` are one, whoever uses them."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str = Field(repr=False)
    """The base, such as ``https://api.openai.com/v1``; what stands behind ``?`` goes with every request."""
    key: SecretStr | None = Field(default=None, repr=False)
    model: str = ""
    name: str = Field(default="", max_length=MAX_NAME_CHARS)
    """In metrics, logs and usage; the host unless given."""
    headers: dict[str, SecretStr] = Field(default_factory=dict, repr=False)
    query: dict[str, str] = Field(default_factory=dict, repr=False)
    """As Azure's ``api-version``."""
    connect_s: Seconds = 3.0
    """Until a connection is there; a little longer than a lost packet takes to be sent again."""
    first_s: Seconds = 30.0
    """Until the first byte of what it gives: a model may think."""
    stall_s: Seconds = 10.0
    """Between two pieces of what it gives."""
    total_s: Seconds = 300.0
    """For all of it, without the time that its reader takes."""

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        url = url.strip()
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise ValueError("is no address, such as https://api.openai.com/v1") from None
        if parts.scheme not in ("http", "https") or not host or VISIBLE.fullmatch(url) is None:
            raise ValueError("is no address, such as https://api.openai.com/v1")
        if "@" in parts.netloc:
            raise ValueError("holds credentials; give the key as a setting of its own")
        if parts.fragment:
            raise ValueError("has a part behind '#'")
        return url

    @field_validator("key", mode="before")
    @classmethod
    def _is_key(cls, key: Any) -> Any:
        text = key.get_secret_value() if isinstance(key, SecretStr) else key
        return checked_key(text) if isinstance(text, str) else key

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in headers.items():
            text = value.get_secret_value()
            if HEADER_NAME.fullmatch(name) is None or not text.isascii() or not text.isprintable():
                raise ValueError(f"cannot be: {name!r} is no header, or has a value that none has")
        return headers

    @model_validator(mode="before")
    @classmethod
    def _has_a_name(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("name") or not isinstance(given.get("url"), str):
            return given
        try:
            netloc = urlsplit(given["url"].strip()).netloc
        except ValueError:
            netloc = ""  # What is wrong with it is told of the address.
        return {**given, "name": netloc if LABEL.fullmatch(netloc) else UNNAMED}

    @field_validator("name")
    @classmethod
    def _is_label(cls, name: str) -> str:
        if LABEL.fullmatch(name) is None:
            raise ValueError("must be letters, digits, '.', ':', '_' and '-'")
        return name

    @property
    def identity(self) -> tuple[str, str, str]:
        """What tells it from others."""
        return self.name, self.url, self.model

    @property
    def is_azure(self) -> bool:
        """Whether its host is one of Azure's."""
        return (urlsplit(self.url).hostname or "").endswith(AZURE_HOSTS)

    def address(self, path: str) -> str:
        """The URL of a path below the base, with all parameters."""
        parts = urlsplit(self.url)
        query = {**dict(parse_qsl(parts.query, keep_blank_values=True)), **self.query}
        base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/{path.lstrip('/')}"
        return f"{base}?{urlencode(query)}" if query else base

    def request_headers(self) -> dict[str, str]:
        """The key, and what else goes with every request."""
        found = {}
        if self.key is not None:
            key = self.key.get_secret_value()
            found = {"api-key": key} if self.is_azure else {"Authorization": f"Bearer {key}"}
        return {**found, **{name: value.get_secret_value() for name, value in self.headers.items()}}

    def hidden(self, text: str) -> str:
        """The same text without any of its secrets."""
        secrets = [value.get_secret_value() for value in (self.key, *self.headers.values()) if value is not None]
        for secret in sorted(filter(None, secrets), key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def with_key(self, key: SecretStr | None) -> Self:
        """The same, with this key if it has none."""
        return self if self.key is not None or key is None else self.model_copy(update={"key": key})
