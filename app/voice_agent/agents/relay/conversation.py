"""Gives an upstream the conversation: what of it, and in which order with what the caller said just now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from voice_agent.agents.relay.content import is_spoken
from voice_agent.agents.relay.session import UpstreamSession
from voice_agent.agents.relay.sync import WantedItem, wanted_of
from voice_agent.kit.call import Item

MAX_RESTORED_ITEMS = 256
"""The newest, which a new session is given: what is older no model of speech reads any more."""
MAX_RESTORED_CHARS = 128 * 1024
"""Of all of these: about what OpenAI's models take."""
MAX_SHOWN_ITEMS = 4_096
"""The newest, in which the first is looked for that a session has."""


@dataclass(frozen=True, slots=True)
class CallerTurn:
    """What the caller said last."""

    item_id: str
    audio: bytes
    """b"": what was sent of it while it was said is all."""


async def bring(session: UpstreamSession, items: Sequence[Item], turn: CallerTurn | None = None) -> None:
    """Make the conversation of an upstream equal to `items`. Raises `UpstreamLost`.

    What the caller said last goes as audio.
    """
    shown = _shown(session, items[-MAX_SHOWN_ITEMS:])
    at = next((at for at, item in enumerate(shown) if turn is not None and item.get("id") == turn.item_id), None)
    if turn is not None and at is not None and is_spoken(shown[at]) and not session.held.has_audio(turn.item_id):
        await session.make_equal(_wanted(session, shown[:at]))
        await session.commit(turn.item_id, turn.audio)
    await session.make_equal(_wanted(session, shown))


def _wanted(session: UpstreamSession, items: Sequence[Item]) -> list[WantedItem]:
    return wanted_of(items, session.held.has_audio)


def _shown(session: UpstreamSession, items: Sequence[Item]) -> Sequence[Item]:
    """Those from the first on that the session was given; for a new one, or where that is gone, the newest."""
    for at, item in enumerate(items):
        if session.held.first_id and item.get("id") == session.held.first_id:
            return items[at:]
    left, first = MAX_RESTORED_CHARS, len(items)
    while first and len(items) - first < MAX_RESTORED_ITEMS:
        left -= sum(len(one.content.text) for one in wanted_of(items[first - 1 : first], lambda _: False))
        if left < 0:
            break
        first -= 1
    shown = items[first:]
    session.held.first_id = str(shown[0].get("id") or "") if shown else ""
    return shown
