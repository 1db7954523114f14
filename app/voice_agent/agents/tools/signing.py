"""Signing of requests as Standard Webhooks 1.0.0 has it: HMAC-SHA256 over ``{id}.{timestamp}.{body}``.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re

SECRET_PREFIX = "whsec_"  # noqa: S105 no secret: how one begins
SECRET_BYTES = range(24, 65)
"""As the specification has it."""
MESSAGE_ID = re.compile(r"[!-\-/-~]{1,256}")
"""What is visible, without full stops: they part what is signed."""


class Signer:
    """Signs with one secret, or with several while one is replaced: the receiver may know any of them."""

    def __init__(self, secrets: str) -> None:
        """`secrets`: parted by blanks. Raises `ValueError`, which repeats none of them."""
        self._keys = [_key(secret) for secret in secrets.split()]
        if not self._keys:
            raise ValueError("there is no secret to sign with")

    def headers(self, message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
        """What is sent beside the body. The id is the same whenever the same message is sent again."""
        if not MESSAGE_ID.fullmatch(message_id):
            raise ValueError(f"{message_id!r:.80} is no id of a message")
        signed = f"{message_id}.{timestamp_s}.".encode() + body
        signatures = [base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in self._keys]
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
        }


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(SECRET_PREFIX) or len(key) not in SECRET_BYTES:
        raise ValueError("a secret is whsec_ and 24 to 64 bytes as base64: openssl rand -base64 32")
    return key
