"""The events of a pod that concern the edge: what they say is done, and what of them goes to the caller."""

from __future__ import annotations

from typing import Any

import orjson

from voice_agent.call.audio import AudioFormat
from voice_agent.client.client_line import ClientLine
from voice_agent.client.session_events import call_info, told_format
from voice_agent.edge.caller_messages import CallerMessages
from voice_agent.edge.event_ids import client_id, newest_client_id
from voice_agent.websocket.frames import text_frame


class PodEventReader:
    """One caller's, over all pods."""

    def __init__(self, line: ClientLine, messages: CallerMessages) -> None:
        self._line = line
        self._messages = messages
        self._format: AudioFormat | None = None
        """Of the caller's audio; None where the server does not say it."""

    def greeting(self, event: dict[str, Any]) -> bytes:
        """The first greeting is the caller's: the frame that it gets, without what only the edge asked for."""
        self._format = told_format(event)
        told = call_info(event)
        self._line.begin_at(told.get("input_audio_bytes", 0))
        last = newest_client_id(told.get("last_client_event_id"))
        told["last_client_event_id"] = self._messages.ids.newest_client_id = last
        if not self._messages.wants_received:
            told.pop("newest_event_id", None)
        return text_frame(orjson.dumps(event))

    def received(self, event: dict[str, Any]) -> bytes | None:
        """`call.received`: kept no longer; the frame for a caller that asked for it itself."""
        last = event["last_client_event_id"]
        self._line.received(event["input_audio_bytes"], self._messages.ids.number(last))
        if not self._messages.wants_received:
            return None
        return text_frame(orjson.dumps({**event, "last_client_event_id": newest_client_id(last)}))

    def error(self, event: dict[str, Any]) -> bytes:
        """The frame with the client's own id in it; an append that was refused does not count.

        A caller that wants to know is told where an append stood to which it gave no id.
        """
        error = event.get("error")
        if isinstance(error, dict):
            number = self._messages.ids.number(error.get("event_id"))
            at_bytes = error.pop("input_audio_bytes", None)
            if at_bytes is not None:
                self._line.refused_at(at_bytes)
            elif number:
                at_bytes = self._line.refused(number)
                self._messages.update_refused(number)
            error["event_id"] = client_id(error.get("event_id"))
            if at_bytes is not None and error["event_id"] is None and self._messages.wants_received:
                error["input_audio_bytes"] = at_bytes
        return text_frame(orjson.dumps(event))

    def session_updated(self, event: dict[str, Any]) -> None:
        """A `session.update` took effect: positions may count bytes of another format from there."""
        before, number = self._format, self._messages.update_taken()
        after = self._format = told_format(event)
        if before is not None and after is not None and before != after and number:
            self._line.reformat(number, lambda at: after.size(before.ms(at)))
