"""Where callers connect from, and how often one address may.

Behind a proxy every caller has the proxy's address; the caller's own stands in ``X-Forwarded-For``,
to which each proxy adds, on the right, the address that asked it. All that stands left of the last proxy
that is trusted may be made up. So the caller is the rightmost entry that is no trusted proxy. A proxy that
passes bytes on tells the address that connected to it by the PROXY protocol (`web.proxy_protocol`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address

MAX_ADDRESSES = 16 * 1024
"""Addresses whose connects are counted; the one that connected longest ago is forgotten first. Bounds the memory."""
MAX_PROXIES = 16
"""Entries of ``X-Forwarded-For`` that are looked at, from the right. Stops a header that is full of trusted ones."""
MINUTE_S = 60
ROUNDING_S = 1e-6
"""Sums of fractions of a minute are not exact: no caller is refused for less."""
SITE_BITS = 64
"""A client with one IPv6 address has 2^64 of them."""
FORWARDED_HOST = b"x-forwarded-host"
FORWARDED_FOR = re.compile(rb"\nx-forwarded-for[ \t]*:([^\r\n]*)", re.IGNORECASE)


def parse_address(text: str) -> Address | None:
    """An address as a socket or a proxy tells it, a port behind it or not; IPv4 in IPv6 is IPv4. None: it is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class CallerAddresses:
    """Tells callers' addresses, believing the proxies of the settings."""

    def __init__(self, trusted: Sequence[str]) -> None:
        """`trusted`: addresses and networks, as in `Settings.trusted_proxies`."""
        self._trusted = [ip_network(each, strict=False) for each in trusted]

    def of(self, peer: object, head: bytes) -> Address | None:
        """The client that sent this request's head; `peer`: the socket's address as sockets tell it. None: unknown."""
        caller = _address(peer)
        if not self._is_trusted(caller):
            return caller
        told = b",".join(FORWARDED_FOR.findall(head))
        for entry in reversed(told.decode("latin-1").rsplit(",", MAX_PROXIES)[-MAX_PROXIES:]):
            address = parse_address(entry)
            if address is None:
                break  # What a proxy could not tell is known no further than to that proxy.
            caller = address
            if not self._is_trusted(address):
                break
        return caller

    def with_host_asked_for(self, peer: object, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """A request's headers (names in small letters) with the ``Host`` that the client asked for.

        A proxy that asks under another name tells it in ``X-Forwarded-Host``; where several do, none is believed.
        """
        told = [value for name, value in headers if name == FORWARDED_HOST]
        if len(told) != 1 or not self.trusts(peer):
            return headers
        return [*((name, value) for name, value in headers if name != b"host"), (b"host", told[0])]

    def trusts(self, peer: object) -> bool:
        """Whether the other end of a socket is believed in what it says of callers."""
        return self._is_trusted(_address(peer))

    def _is_trusted(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)


class ConnectRate:
    """At most so many connects a minute of one address, and as many at once of one that was quiet for a minute.

    Kept is one number for each address (the generic cell rate algorithm): when it will have been quiet.
    """

    def __init__(self, per_minute: int, now_s: Callable[[], float], *, max_addresses: int = MAX_ADDRESSES) -> None:
        self.per_minute = per_minute
        self._now_s = now_s
        self._max_addresses = max_addresses
        self._quiet_at: dict[Address, float] = {}
        """By address or IPv6 network, the one that connected longest ago first."""

    def take(self, address: Address | None) -> int | None:
        """Count a connect; None, or after how many seconds there may be another. Loopback is not counted."""
        if address is None or address.is_loopback:
            return None
        key = _site(address)
        now_s = self._now_s()
        quiet_at = max(now_s, self._quiet_at.pop(key, now_s))
        over_s = quiet_at + MINUTE_S / self.per_minute - now_s - MINUTE_S
        is_over = over_s > ROUNDING_S
        self._quiet_at[key] = quiet_at if is_over else quiet_at + MINUTE_S / self.per_minute
        if len(self._quiet_at) > self._max_addresses:
            del self._quiet_at[next(iter(self._quiet_at))]
        return math.ceil(over_s) if is_over else None


def _address(peer: object) -> Address | None:
    return parse_address(peer[0]) if isinstance(peer, tuple | list) else None


def _site(address: Address) -> Address:
    """An IPv6 address without what its owner is free to choose."""
    if isinstance(address, IPv6Address):
        host_bits = address.max_prefixlen - SITE_BITS
        return IPv6Address(int(address) >> host_bits << host_bits)
    return address
