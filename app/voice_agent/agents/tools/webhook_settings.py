"""The settings of a webhook: somebody's URL that a model may have asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from voice_agent.agents.tools.signing import Signer
from voice_agent.kit.tools import MAX_TIMEOUT_S, TOOL_NAME

RESERVED_HEADERS = frozenset(
    "accept accept-encoding connection content-length content-type expect host idempotency-key te trailer"
    " transfer-encoding upgrade user-agent webhook-id webhook-signature webhook-timestamp".split()
)
"""What a request is made of: no setting changes it."""


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("a webhook has an address that begins with https:// or http://")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("an address has neither a password nor a fragment; what is secret is a header")
    return url


def _checked_parameters(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("type") != "object":
        raise ValueError("parameters are a JSON schema whose type is object")
    return schema


Url = Annotated[str, AfterValidator(_checked_url)]


class WebhookSettings(BaseModel):
    """Of one webhook; in a TOML file, a table ``[[tools]]``."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: str = Field(pattern=TOOL_NAME)
    description: str = ""
    """What the model is told of it."""
    parameters: Annotated[dict[str, Any], AfterValidator(_checked_parameters)] = Field(
        default_factory=lambda: {"type": "object", "properties": {}}
    )
    url: Url
    """What is sent a POST. Redirects are not followed."""
    verify_url: Url | None = None
    """What is asked, with ``?key=``, whether something was done, before it is asked for again."""
    secret: SecretStr | None = None
    """``whsec_…``; several, parted by blanks, while one is replaced."""
    secret_file: Path | None = None
    """A file with `secret` in it."""
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    """More of them, for what stands before the webhook."""
    timeout_s: float = Field(default=20.0, gt=0, le=MAX_TIMEOUT_S)
    """Of all of it: attempts, and waiting between them."""
    attempt_timeout_s: float = Field(default=6.0, gt=0, le=MAX_TIMEOUT_S)
    retries: int = Field(default=3, ge=0, le=10)
    """How often it may be asked again, with the same key."""
    says: str = Field(default="", max_length=1000)
    says_after_ms: int = Field(default=700, ge=0)
    read_only: bool = False

    @model_validator(mode="after")
    def _check(self) -> WebhookSettings:
        if (self.secret is None) == (self.secret_file is None):
            raise ValueError("a webhook has either secret or secret_file")
        self.signer()
        for name, value in self.headers.items():
            told = value.get_secret_value()
            if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
                raise ValueError(f"{name!r:.40} is no name of a header")
            if name.lower() in RESERVED_HEADERS:
                raise ValueError(f"the header {name} is not to be set")
            if not told.isascii() or not told.isprintable():
                raise ValueError(f"the header {name} has characters that cannot be sent")
        return self

    def signer(self) -> Signer:
        """What signs its requests. Raises `ValueError` for what is no secret, and where the file cannot be read."""
        if self.secret is not None:
            return Signer(self.secret.get_secret_value())
        assert self.secret_file is not None
        try:
            return Signer(self.secret_file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ValueError(f"secret_file cannot be read: {error.strerror}") from error
