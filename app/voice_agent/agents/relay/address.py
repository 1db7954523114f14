"""Where an upstream is: an `Endpoint` of a provider whose address is that of a WebSocket."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic import SecretStr

from voice_agent.providers.endpoint import Endpoint

PATH = "realtime"
_HTTP = {"wss": "https", "ws": "http"}
_WEBSOCKET = {"https": "wss", "http": "ws"}


def upstream_endpoint(url: str, model: str = "", key: SecretStr | None = None) -> Endpoint:
    """The upstream at ``wss://…/realtime?model=…``, or at a base such as ``https://api.openai.com/v1``.

    `model`: where the address names none. Raises `ValueError` for what is no address.
    """
    parts = urlsplit(url.strip())
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    named = query.get("model") or query.get("deployment") or model
    if named and "deployment" not in query:
        query["model"] = named
    path = parts.path.rstrip("/")
    path = path.removesuffix(PATH).rstrip("/") if path.endswith(f"/{PATH}") else path
    scheme = _HTTP.get(parts.scheme, parts.scheme)
    base = urlunsplit((scheme, parts.netloc, path, urlencode(query), parts.fragment))
    return Endpoint(url=base, model=named, key=key)


def websocket_address(endpoint: Endpoint) -> str:
    """Where its sessions are opened."""
    scheme, _, rest = endpoint.address(PATH).partition(":")
    return f"{_WEBSOCKET[scheme]}:{rest}"
