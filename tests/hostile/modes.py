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

    @property
    def what(self) -> str:
        """In words."""
        return (self.attack.__doc__ or "").strip()


def _mode(attack: Callable[[Target], Coroutine[Any, Any, None]], pods: int = 1) -> Mode:
    return Mode(attack.__name__.replace("_", "-"), attack, pods)


MODES = {
    mode.name: mode
    for mode in (
        _mode(handshakes.header),
        _mode(handshakes.many_headers),
        _mode(handshakes.endless_body),
        _mode(handshakes.slow),
        _mode(handshakes.storm),
        _mode(frames.ping),
        _mode(frames.pong),
        _mode(frames.empty_fragments),
        _mode(frames.one_byte_fragments),
        _mode(frames.half_messages),
        _mode(frames.not_reading),
        _mode(content.pcma),
        _mode(content.retrieve),
        _mode(content.park),
        _mode(content.items),
        _mode(content.audio_items),
        _mode(content.session_updates),
        _mode(content.inserts),
        _mode(content.deep_json),
        _mode(content.commas),
        _mode(content.ping_pong, pods=2),
    )
}
