"""The PROXY protocol, versions 1 and 2 (HAProxy's ``doc/proxy-protocol.txt``): who connects, before the first request.

A balancer that passes bytes on says so where a connection begins, once, and what follows is the caller's::

    first bytes --unlike either signature--> none: they are a request
       |--signature--> header not whole --last byte--> told: the source, or that there is none (LOCAL, UNKNOWN)
                          | malformed, too long: refused

The specification wants the receiver to know beforehand whether a header comes. Here an address of
`VOICE_TRUSTED_PROXIES` may send one and need not, for its health checks may come without; nothing is
lost by that: who can send bytes of his own through such an address is believed in ``X-Forwarded-For``, too.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from voice_agent.web.request_reader import RequestRefused

MAX_HEADER_BYTES = 4 * 1024
"""A header of version 2 with what balancers add to it, a certificate's name included. Stops one without end."""
_MAX_LINE_BYTES = 107
"""The longest header of version 1, as the specification counts it."""
_LINE = b"PROXY "
_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED_BYTES = 16
"""Of version 2: signature, version and command, family, length of the rest."""
_VERSION_2 = 2
_LOCAL, _PROXY = 0, 1
_SOURCE_BYTES = {0x11: (4, 12), 0x21: (16, 36)}
"""By family, TCP over IPv4 and IPv6: bytes of one address, and of both with their ports."""
_FAMILIES = {b"TCP4": IPv4Address, b"TCP6": IPv6Address}
_WORDS = 6
_MAX_PORT = 65535

Source = tuple[str, int]
"""Address and port of whoever connected to the balancer."""


class ProxyHeader(NamedTuple):
    """What a connection began with."""

    size: int
    """In bytes; 0 is no header."""
    source: Source | None
    """None: the balancer speaks for itself, or does not know."""


ABSENT = ProxyHeader(0, None)


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """What the first bytes of a connection say; None: not enough of them are there. Raises `RequestRefused`."""
    if data.startswith(_SIGNATURE):
        return _version_2(data)
    if data.startswith(_LINE):
        return _version_1(data)
    may_become_one = _SIGNATURE.startswith(data) or _LINE.startswith(data)
    return None if may_become_one else ABSENT


def _version_1(data: bytes) -> ProxyHeader | None:
    line, end, _ = data[:_MAX_LINE_BYTES].partition(b"\r\n")
    if not end:
        if len(data) >= _MAX_LINE_BYTES:
            raise _malformed()
        return None
    size = len(line) + len(end)
    words = line.split(b" ")
    if words[1] == b"UNKNOWN":
        return ProxyHeader(size, None)
    family = _FAMILIES.get(words[1])
    if family is None or len(words) != _WORDS:
        raise _malformed()
    try:
        source, _ = (family(word.decode("ascii")) for word in words[2:4])
    except ValueError as error:  # Bytes beyond ASCII, too.
        raise _malformed() from error
    port, _ = (_port(word) for word in words[4:])
    return ProxyHeader(size, (str(source), port))


def _version_2(data: bytes) -> ProxyHeader | None:
    if len(data) < _FIXED_BYTES:
        return None
    version, command = divmod(data[12], 16)
    family = data[13]
    size = _FIXED_BYTES + int.from_bytes(data[14:_FIXED_BYTES])
    if version != _VERSION_2 or command not in (_LOCAL, _PROXY):
        raise _malformed()
    if size > MAX_HEADER_BYTES:
        message = f"The header of the PROXY protocol is longer than {MAX_HEADER_BYTES} bytes."
        raise RequestRefused(431, "proxy_header_too_large", message, limit="proxy_header_bytes")
    if len(data) < size:
        return None
    if command == _LOCAL or family not in _SOURCE_BYTES:
        return ProxyHeader(size, None)
    address_bytes, both_bytes = _SOURCE_BYTES[family]
    if size < _FIXED_BYTES + both_bytes:
        raise _malformed()
    source = ip_address(data[_FIXED_BYTES : _FIXED_BYTES + address_bytes])
    ports_at = _FIXED_BYTES + 2 * address_bytes
    return ProxyHeader(size, (str(source), int.from_bytes(data[ports_at : ports_at + 2])))


def _port(word: bytes) -> int:
    if not word.isdigit() or (port := int(word)) > _MAX_PORT or str(port).encode() != word:
        raise _malformed()
    return port


def _malformed() -> RequestRefused:
    return RequestRefused(400, "invalid_proxy_header", "The header of the PROXY protocol cannot be read.")
