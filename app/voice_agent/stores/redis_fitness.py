"""Whether a server is fit to keep calls: facts in, what speaks against it out, each with its remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

OLDEST = (6, 2)
"""GETEX, and XTRIM by MINID."""
COMMANDS = tuple(
    """DEL EVALSHA EXISTS EXPIRE GET GETEX HDEL HGET HGETALL HINCRBY HKEYS HLEN HMGET HSET HSTRLEN PERSIST PING RENAME
    SCRIPT SET TIME TYPE UNLINK XADD XLEN XRANGE XTRIM ZADD ZREM ZREMRANGEBYSCORE ZREVRANGE""".split()
)
"""What this store asks of a server, in scripts and beside them."""
CALL_BYTES = 2 * 1024 * 1024
"""What a call may take while it lasts (docs/store.md)."""
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of itself; None where it does not."""

    name: str = "the server"
    version: tuple[int, ...] | None = None
    policy: str | None = None
    limit_bytes: int | None = None
    is_persistent: bool | None = None
    missing: tuple[str, ...] = ()
    """Of `COMMANDS`."""


def facts_of(info: Mapping[str, Any], config: Mapping[str, Any], commands: Sequence[Any]) -> Facts:
    """From the answers to INFO, CONFIG GET and COMMAND INFO; an empty one stands for a question that was refused."""
    version = str(info.get("redis_version", ""))
    product = str(info.get("server_name", "redis")).capitalize()
    limit = info.get("maxmemory", config.get("maxmemory"))
    persists = info.get("aof_enabled")
    return Facts(
        name=f"{product} {info.get(f'{product.lower()}_version', version)}".strip(),
        version=tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) or None,
        policy=info.get("maxmemory_policy", config.get("maxmemory-policy")),
        limit_bytes=None if limit is None else int(limit),
        is_persistent=None if persists is None or "save" not in config else bool(persists or config["save"]),
        missing=tuple(name for name, known in zip(COMMANDS, commands, strict=False) if known is None),
    )


def lack(facts: Facts) -> str:
    """Why calls cannot be kept there at all; "": they can."""
    if not facts.missing:
        return ""
    oldest = ".".join(map(str, OLDEST))
    return f"{facts.name} has no {', '.join(facts.missing)}: take Redis {oldest} or later, or Valkey"


def shortcomings(facts: Facts, calls: int, *, needs_limit: bool = True) -> list[str]:
    """What speaks against keeping calls there, `calls` of them at once: each a sentence that ends with a remedy."""
    found = []
    needed_mib = calls * CALL_BYTES * 4 // 3 // MIB
    if facts.version is not None and facts.version < OLDEST:
        found.append(f"{facts.name} is older than {'.'.join(map(str, OLDEST))}: take a later one")
    if facts.limit_bytes and facts.policy not in (None, "noeviction"):
        found.append(f"when it is full it evicts calls ({facts.policy}): CONFIG SET maxmemory-policy noeviction")
    if facts.limit_bytes == 0 and needs_limit:
        found.append(f"it has no memory limit but the machine's: CONFIG SET maxmemory {needed_mib}mb")
    elif facts.limit_bytes and facts.limit_bytes < calls * CALL_BYTES:
        held = facts.limit_bytes // CALL_BYTES
        found.append(f"its memory is for {held} calls at once, of {calls}: CONFIG SET maxmemory {needed_mib}mb")
    if facts.is_persistent is False:
        found.append("it keeps nothing on disk, so a restart loses all calls: CONFIG SET appendonly yes")
    return found
