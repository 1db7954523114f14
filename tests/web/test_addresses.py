"""Where callers connect from, and how often one address may."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from voice_agent.web.addresses import MAX_PROXIES, CallerAddresses, ConnectRate, parse_address


class StoppedClock:
    """Goes on only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def head(*forwarded: str) -> bytes:
    """A request that came through proxies."""
    return b"GET / HTTP/1.1\r\n" + b"".join(b"X-Forwarded-For: %b\r\n" % it.encode() for it in forwarded) + b"\r\n"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:5060", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("unknown", None),
        ("", None),
    ],
)
def test_an_address_is_read_as_sockets_and_proxies_write_it(text: str, address: str | None) -> None:
    """With a port or without; IPv4 written as IPv6 is IPv4."""
    assert parse_address(text) == (None if address is None else ip_address(address))


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "caller"),
    [
        ((), "10.0.0.1", ["203.0.113.9"], "10.0.0.1"),
        (("10.0.0.0/8",), "198.51.100.7", ["203.0.113.9"], "198.51.100.7"),
        (("10.0.0.0/8",), "10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        (("10.0.0.0/8",), "::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        (("10.0.0.0/8",), "10.0.0.1", ["127.0.0.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        (("10.0.0.0/8",), "10.0.0.1", ["127.0.0.1", "203.0.113.9"], "203.0.113.9"),
        (("10.0.0.0/8",), "10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (("10.0.0.0/8",), "10.0.0.1", ["203.0.113.9, unknown"], "10.0.0.1"),
        (("10.0.0.0/8",), "10.0.0.1", [], "10.0.0.1"),
        (("2001:db8::/32",), "2001:db8::1", ["2001:db9::5"], "2001:db9::5"),
    ],
)
def test_the_caller_is_the_rightmost_that_no_trusted_proxy_is(
    trusted: tuple[str, ...], peer: str, forwarded: list[str], caller: str
) -> None:
    """What stands left of it may be made up; headers of strangers are not believed at all."""
    assert CallerAddresses(trusted).of((peer, 5060), head(*forwarded)) == ip_address(caller)


def test_no_more_than_so_many_proxies_are_looked_at() -> None:
    """A header full of trusted ones would cost a handshake fifty milliseconds; the last one seen counts."""
    told = head("203.0.113.9" + ",10.0.0.2" * MAX_PROXIES)
    assert CallerAddresses(("10.0.0.0/8",)).of(("10.0.0.1", 5060), told) == ip_address("10.0.0.2")


def test_a_peer_without_an_address_is_not_known() -> None:
    """On a Unix socket, say."""
    for peer in (None, "", "/run/socket"):
        assert CallerAddresses(("10.0.0.0/8",)).of(peer, head("1.2.3.4")) is None


def test_an_address_may_connect_so_often_a_minute() -> None:
    """As many at once; then one for each part of the minute that passes, and it is said how long to wait."""
    clock = StoppedClock()
    rate = ConnectRate(3, clock)
    caller = ip_address("203.0.113.9")
    assert [rate.take(caller) for _ in range(5)] == [None, None, None, 20, 20]
    assert rate.take(ip_address("203.0.113.10")) is None
    clock.now += 19
    assert rate.take(caller) == 1
    clock.now += 1
    assert [rate.take(caller) for _ in range(2)] == [None, 20]
    clock.now += 60
    assert [rate.take(caller) for _ in range(4)] == [None, None, None, 20]


def test_fractions_of_a_minute_refuse_nobody_too_early() -> None:
    """A limit that does not divide the minute is met exactly."""
    clock = StoppedClock()
    clock.now = 1234.5
    rate = ConnectRate(7, clock)
    caller = ip_address("203.0.113.9")
    assert [rate.take(caller) is None for _ in range(8)] == [True] * 7 + [False]


def test_ipv6_counts_by_its_network() -> None:
    """Whoever has one address there has 2^64 of them."""
    rate = ConnectRate(1, StoppedClock())
    assert rate.take(ip_address("2001:db8:0:1::1")) is None
    assert rate.take(ip_address("2001:db8:0:1::2")) == 60
    assert rate.take(ip_address("2001:db8:0:2::1")) is None


def test_loopback_and_the_unknown_are_not_counted() -> None:
    """Tests, probes and load generators on the same machine."""
    rate = ConnectRate(1, StoppedClock())
    for address in (ip_address("127.0.0.1"), ip_address("::1"), None):
        assert [rate.take(address) for _ in range(3)] == [None] * 3


def test_no_more_than_so_many_addresses_are_kept() -> None:
    """The one that connected longest ago is forgotten first."""
    rate = ConnectRate(1, StoppedClock(), max_addresses=2)
    one, two, three = map(ip_address, ("203.0.113.1", "203.0.113.2", "203.0.113.3"))
    rate.take(one)
    rate.take(two)
    assert rate.take(one) == 60
    rate.take(three)
    assert len(rate._quiet_at) == 2
    assert rate.take(one) == 60
    assert rate.take(two) is None
