"""Who may connect: API keys, origins of web pages, and the administrator.

Every comparison with a secret takes the same time for every wrong guess.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from voice_agent.errors import ConnectionRefused
from voice_agent.settings import Settings, is_loopback
from voice_agent.web.addresses import parse_address

BROWSER_KEY = "openai-insecure-api-key."
"""Browsers cannot set headers, so OpenAI's clients there put the key into a subprotocol of this prefix."""
AZURE_KEY = "api-key"
"""The header of Azure's clients."""
SUBPROTOCOL = "realtime"
NO_API_KEY = "open"
"""Stands for the hash of a key while no keys are set."""
BEARER = "bearer "
FORWARDED = ("x-forwarded-for", "x-forwarded-host", "forwarded", "x-real-ip", "via")


def is_forwarded(headers: Headers) -> bool:
    """Whether a proxy handed the request on."""
    return any(name in headers for name in FORWARDED)


def hashed(secret: str) -> str:
    """SHA-256 of a key, as 64 hex digits; keys are kept in no other form."""
    return hashlib.sha256(secret.encode()).hexdigest()


def check_subprotocols(offered: Sequence[str]) -> None:
    """Raise `ConnectionRefused` (400) if a client offers protocols, but not the one that is spoken here.

    None would be chosen, and a browser then fails the connection (RFC 6455, section 4.1) after the call has begun.
    """
    if offered and SUBPROTOCOL not in offered:
        raise ConnectionRefused(
            400,
            "unknown_subprotocol",
            f"Of the subprotocols that were offered none is spoken here; offer {SUBPROTOCOL!r} among them, or none.",
            param="sec-websocket-protocol",
        )


def revoked(settings: Settings) -> frozenset[str]:
    """Hashes of the keys that were revoked, as they stand in the records of calls."""
    return frozenset(hashed(key.get_secret_value()) for key in settings.revoked_api_keys)


class Access:
    """Decides by the settings of one pod."""

    def __init__(self, settings: Settings) -> None:
        self._keys = [key.get_secret_value().encode() for key in settings.api_keys]
        self._revoked = [key.encode() for key in revoked(settings)]
        self._admin = settings.admin_token.get_secret_value().encode() if settings.admin_token else None
        self._origins = frozenset(settings.allowed_origins)
        self._on_loopback = settings.listens_on_loopback

    def api_key(self, headers: Headers, subprotocols: Sequence[str]) -> str:
        """The hash of the caller's API key; raises `ConnectionRefused` (401) for none, or a wrong or revoked one."""
        in_protocols = (name.removeprefix(BROWSER_KEY) for name in subprotocols if name.startswith(BROWSER_KEY))
        shown = bearer(headers) or headers.get(AZURE_KEY) or next(in_protocols, None)
        if shown and _is_one_of(hashed(shown).encode(), self._revoked):
            raise ConnectionRefused(401, "revoked_api_key", "This API key was revoked.", param="authorization")
        if not self._keys:
            return NO_API_KEY
        if not shown:
            raise ConnectionRefused(
                401, "missing_api_key", "An API key is needed, as 'Authorization: Bearer <key>'.", param="authorization"
            )
        if not _is_one_of(shown.encode(), self._keys):
            raise ConnectionRefused(401, "invalid_api_key", "This API key is not known.", param="authorization")
        return hashed(shown)

    def check_origin(self, headers: Headers) -> None:
        """Raise `ConnectionRefused` (403) if a web page of a host that is not ours or allowed wants in.

        Programs send no ``Origin``. A page may come from the host it connects to; while
        the server listens on loopback only, from this machine. With no API keys the ``Host``
        must be this machine's (loopback where it listens there, else an address or the machine's
        name), or any page could rebind its own name to it.
        """
        origin = headers.get("origin")
        if origin is None:
            return
        origin = origin.lower()
        if "*" in self._origins or origin in self._origins:
            return
        page, host = _host(origin), headers.get("host", "").lower()
        ours = page == host and bool(host)
        if self._on_loopback:
            local = is_loopback(_name(page)) and is_loopback(_name(host))
            ours = local or (ours and bool(self._keys))
        elif not self._keys:
            ours = ours and _is_this_machine(_name(host))
        if not ours:
            raise ConnectionRefused(
                403,
                "origin_not_allowed",
                "Pages of this origin may not connect; see VOICE_ALLOWED_ORIGINS.",
                param="origin",
            )

    def check_admin(self, headers: Headers, client: str | None) -> None:
        """Raise `ConnectionRefused` unless an administrator asks.

        With no token set that is a client on this machine that asks directly: not by a request that
        a proxy passed on, nor by one addressed to another host's name.
        """
        if self._admin is not None:
            shown = bearer(headers)
            if not shown:
                raise ConnectionRefused(401, "missing_admin_token", "The admin token is needed.", param="authorization")
            if not hmac.compare_digest(shown.encode(), self._admin):
                raise ConnectionRefused(401, "invalid_admin_token", "The admin token is wrong.", param="authorization")
            return
        direct = client is not None and is_loopback(client) and not is_forwarded(headers)
        if not direct or not is_loopback(_name(headers.get("host", ""))):
            raise ConnectionRefused(
                403, "admin_is_local", "With no VOICE_ADMIN_TOKEN set, only loopback may administer.", param=None
            )
        self.check_origin(headers)


def bearer(headers: Headers) -> str | None:
    """The token of ``Authorization: Bearer <token>``, or None."""
    value = headers.get("authorization", "")
    return value[len(BEARER) :].strip() if value.lower().startswith(BEARER) else None


def _is_one_of(shown: bytes, keys: Sequence[bytes]) -> bool:
    found = False
    for key in keys:
        found |= hmac.compare_digest(shown, key)
    return found


def _host(origin: str) -> str:
    try:
        return urlsplit(origin).netloc if "//" in origin else ""
    except ValueError:  # brackets that hold no IPv6 address
        return ""


def _is_this_machine(name: str) -> bool:
    """Whether a host's name can only be this machine's: an address, or what the machine is called."""
    own = socket.gethostname().lower()
    return parse_address(name) is not None or is_loopback(name) or name in {own, f"{own}.local", own.partition(".")[0]}


def _name(host: str) -> str:
    """A host without its port; brackets of IPv6 are dropped."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host
