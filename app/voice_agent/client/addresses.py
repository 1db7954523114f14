"""Where calls go: what an address must look like, and what to try instead of one that cannot work."""

from __future__ import annotations

import ssl
from urllib.parse import SplitResult, urlsplit

from voice_agent.client.refusals import CallFailed, CallRefused

PATH = "/v1/realtime"
EXAMPLE = f"ws://127.0.0.1:8080{PATH}"
SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
"""What somebody who wrote the left one meant."""


def address(url: str) -> str:
    """A URL fit for messages: its query may hold keys."""
    return url.partition("?")[0]


def check(url: str) -> None:
    """Raises `CallFailed`, with an address to try, for one that is not ``ws://host…`` or ``wss://host…``."""
    if not address(url):
        raise CallFailed(f"the server's address is empty; try {EXAMPLE}")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise CallFailed(f"{address(url)} is not an address that works: {error}; try one like {EXAMPLE}") from None
    if parts.scheme not in ("ws", "wss"):
        raise CallFailed(f"{address(url)} is not a WebSocket address; try {_meant(url, parts)}")
    if not host:
        raise CallFailed(f"{address(url)} names no host; try one like {EXAMPLE}")


def _meant(url: str, parts: SplitResult) -> str:
    """The nearest address that could work."""
    if "://" not in url:
        # "localhost:8080" would be read as a scheme and a path.
        parts = urlsplit(f"ws://{url}")
    scheme = SCHEMES.get(parts.scheme)
    if scheme is None or not parts.netloc:
        return f"one like {EXAMPLE}"
    path = parts.path.rstrip("/")
    return f"{scheme}://{parts.netloc}{path if path.endswith('/realtime') else path.removesuffix('/v1') + PATH}"


def with_path_hint(refused: CallRefused, url: str) -> CallFailed:
    """The same refusal, with the path to try where the address names one that no server has."""
    parts = urlsplit(url)
    if refused.status != 404 or "/realtime" in parts.path:
        return refused
    return CallFailed(f"{address(url)} takes no calls (404); try {_meant(url, parts)}")


def unreachable(url: str, error: BaseException, reason: str) -> CallFailed:
    """Nobody took the call, in words that say what to do about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return CallFailed(
            f"the certificate of {address(url)} is not trusted: {error.verify_message}; SSL_CERT_FILE may name a file "
            "with the certificate of an authority of your own"
        )
    if url.startswith("wss:") and isinstance(error, ssl.SSLError | ConnectionResetError):
        # A server without TLS answers its hello with something else, or hangs up.
        plain = address(url).replace("wss:", "ws:", 1)
        return CallFailed(f"{address(url)} does not speak TLS, it seems ({_said(error)}); try {plain}")
    return CallFailed(f"nobody takes calls at {address(url)} ({reason}); start a server with: voice-agent serve")


def _said(error: OSError) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else "the connection was reset"
    return reason.lower().replace("_", " ")
