"""What a release takes away is seen in the store."""

from __future__ import annotations

from typing import Any

import pytest

from tests.upgrade.additions import Additions
from tests.upgrade.releases import ADDED

PACKED = b'{"item":{"id":"item_1"}}'
ADDED_TO = b'{"added_later":"item_1","item":{"id":"item_1"}}'


async def looked(url: str, *, then: str) -> Additions:
    """A call with additions everywhere, looked at, changed by a command, and looked at again."""
    additions = Additions(url)
    client: Any = additions._redis
    await client.hset("call:{call_a}", mapping={"status": "attached", ADDED: "3"})
    await client.hset("call:{call_a}:items", mapping={"item_1": ADDED_TO, "item_2": PACKED})
    await additions.look(["call_a"])
    assert (additions.seen, additions.gone) == (2, [])
    await client.execute_command(*then.split(" "))
    await additions.look(["call_a", "call_unknown"])
    await additions.close()
    return additions


@pytest.mark.parametrize(
    ("then", "gone"),
    [
        ("HSET call:{call_a} status parked", ""),
        ("HDEL call:{call_a} added_later", "call_a: what was added to the record is gone"),
        (f"HSET call:{{call_a}}:items item_1 {PACKED.decode()}", "call_a: what was added to item_1 is gone"),
        ("HDEL call:{call_a}:items item_1", ""),
        ("DEL call:{call_a}", ""),
    ],
)
async def test_what_is_taken_away_is_told_and_nothing_else(redis_url: str, then: str, gone: str) -> None:
    """An item that was deleted takes along what was added to it; so does the end of a call."""
    assert (await looked(redis_url, then=then)).gone == ([gone] if gone else [])
