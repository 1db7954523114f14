"""What is wrong with an ear or a voice, seen before the first call: not by asking it, but by how it is written."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import iscoroutinefunction, isgeneratorfunction

from voice_agent.kit.ear import Ear
from voice_agent.kit.voice import Voice


def ear_fault(ear: object) -> str | None:
    """The rest of a sentence that begins with its name; None: nothing is wrong with it."""
    if not isinstance(ear, Ear):
        return f"is a {type(ear).__name__}, which is no subclass of voice_agent.Ear"
    if wrong := _fault(ear, ("open", "ready", "close", "transcribe"), "listen"):
        return wrong
    for name in ("streams", "stops_soon"):
        if not isinstance(told := getattr(ear, name), bool):
            return f"has {told!r} as {name}, which is neither True nor False"
    takes_whole, takes_frames = type(ear).transcribe is not Ear.transcribe, type(ear).listen is not Ear.listen
    if takes_frames and not takes_whole and not ear.streams:
        return "has a method listen, which is not asked for streams is False"
    return None


def voice_fault(voice: object) -> str | None:
    """As `ear_fault`."""
    if not isinstance(voice, Voice):
        return f"is a {type(voice).__name__}, which is no subclass of voice_agent.Voice"
    if type(voice).say is Voice.say:
        return "has no method say"
    if wrong := _fault(voice, ("open", "ready", "close"), "say"):
        return wrong
    if not isinstance(voice.deterministic, bool):
        return f"has {voice.deterministic!r} as deterministic, which is neither True nor False"
    lead_ms: object = voice.lead_ms
    if not isinstance(lead_ms, int) or lead_ms < 0:
        return f"has {lead_ms!r} as lead_ms, which is no number of milliseconds"
    return None


def _fault(provider: Ear | Voice, waits: Iterable[str], streams: str) -> str | None:
    name: object = provider.name
    if not isinstance(name, str) or not name:
        return f"has {name!r} as name, which is no name"
    for method in waits:
        if not iscoroutinefunction(getattr(provider, method)):
            return f"has a method {method} that is not async"
    stream = getattr(provider, streams)
    if iscoroutinefunction(stream) or isgeneratorfunction(stream):
        return f"has a method {streams} that is no async generator: it must be async, and yield"
    return None
