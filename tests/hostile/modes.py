"""The modes by name: what hostile callers do."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from tests.hostile import content, frames, handshakes
from tests.hostile.wire import Target


@dataclass(frozen=True)
class Mode:
    """One way to do harm."""

    name: str
    attack: Callable[[Target], Coroutine[Any, Any, None]]
    """Done again and again until the time is over."""
    pods: int = 1
    is_slowed: bool = False
    """It is legal: nobody is told of a limit, the caller waits until it is its turn."""

    @property
    def what(self) -> str:
        """In words."""
        return (self.attack.__doc__ or "").strip()


def _mode(attack: Callable[[Target], Coroutine[Any, Any, None]], *, pods: int = 1, is_slowed: bool = False) -> Mode:
    return Mode(attack.__name__.replace("_", "-"), attack, pods, is_slowed)


MODES = {
    mode.name: mode
    for mode in (
        _mode(handshakes.header),
        _mode(handshakes.many_headers),
        _mode(handshakes.endless_body),
        _mode(handshakes.slow),
        _mode(handshakes.storm),
        _mode(frames.ping, is_slowed=True),
        _mode(frames.pong, is_slowed=True),
        _mode(frames.empty_fragments, is_slowed=True),
        _mode(frames.one_byte_fragments, is_slowed=True),
        _mode(frames.half_messages),
        _mode(frames.not_reading),
        _mode(content.pcma, is_slowed=True),
        _mode(content.retrieve),
        _mode(content.park),
        _mode(content.items),
        _mode(content.hang_up),
        _mode(content.audio_items),
        _mode(content.session_updates),
        _mode(content.inserts),
        _mode(content.deep_json),
        _mode(content.commas),
        _mode(content.ping_pong, pods=2),
    )
}
