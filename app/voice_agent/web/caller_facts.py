"""What is kept of a caller's first request, for the agent: who calls, and from where in somebody's own system.

No secret may be in it, for it is in the call's record from then on: what is named like one is left out, and of headers
all but a few. Nor is what the protocol itself says, or a proxy; so it is the same over an edge.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from urllib.parse import unquote_to_bytes

import orjson
from starlette.datastructures import Headers

from voice_agent.call.record import MAX_CALLER_BYTES
from voice_agent.web.parameters import KNOWN

MAX_PARAMETERS = 64
"""Of a URL, so many are looked at: a URL of 64 KiB may have ten thousand, and the event loop would wait for them."""
SECRET_WORDS = "auth cookie credential jwt key passw secret signature token".split()
"""A parameter or header whose name holds one of these is not kept."""
KEPT_HEADERS = frozenset({"accept-language", "origin", "user-agent"})
OWN_PREFIX = "x-"
"""Of headers that clients name as they like."""
PROXIES_HEADERS = ("x-forwarded-", "x-real-ip", "x-voice-color")
"""How headers begin that say how the request came here."""

Facts = dict[str, dict[str, str]]


def caller_facts(query: bytes, headers: Headers) -> Facts:
    """``query`` and ``headers``, each with names and texts, in JSON of `MAX_CALLER_BYTES` at most.

    What does not fit is left out, the longest first. What is given twice is kept as it was given first.
    """
    facts: Facts = {"query": {}, "headers": {}}
    for name, value in _parameters(query):
        facts["query"].setdefault(name, value)
    for name, value in headers.items():
        is_own = name.startswith(OWN_PREFIX) and not name.startswith(PROXIES_HEADERS)
        if (is_own or name in KEPT_HEADERS) and not _is_secret(name):
            facts["headers"].setdefault(name, value)
    return _fitting(facts)


def _parameters(query: bytes) -> Iterator[tuple[str, str]]:
    """Those that mean nothing to the server and are text, and no more of the longest than might fit."""
    pairs = query.split(b"&", MAX_PARAMETERS)[:MAX_PARAMETERS]
    sizes = sorted(map(len, pairs))
    # Decoded, each has a third of its length at least.
    might_fit = sum(total <= 3 * MAX_CALLER_BYTES for total in accumulate(sizes))
    longest = sizes[might_fit - 1] if might_fit else 0
    left = might_fit
    for pair in pairs:
        if len(pair) > longest or not left:
            continue
        left -= 1
        packed_name, _, packed = pair.partition(b"=")
        try:
            name, value = (unquote_to_bytes(part.replace(b"+", b" ")).decode() for part in (packed_name, packed))
        except UnicodeDecodeError:
            continue
        if name and name not in KNOWN and not _is_secret(name):
            yield name, value


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in SECRET_WORDS)


def _fitting(facts: Facts) -> Facts:
    left_bytes = MAX_CALLER_BYTES - len(orjson.dumps({group: {} for group in facts}))
    by_size = sorted(
        (len(orjson.dumps({name: value})) - 1, group, name) for group, of in facts.items() for name, value in of.items()
    )  # Without one of its two braces: the comma that parts it from the next.
    for size_bytes, group, name in by_size:
        left_bytes -= size_bytes
        if left_bytes < 0:
            del facts[group][name]
    return facts
