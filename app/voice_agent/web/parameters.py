"""What a caller asks for in a WebSocket's URL and headers, checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers

from voice_agent.call.event_ids import MAX_EVENT_NUMBER, PREFIX, event_number
from voice_agent.errors import ConnectionRefused

CALL_ID = re.compile(r"call_[a-z2-7]{26}")
CALL_KEY = re.compile(r"[\x21-\x7e]{22,256}")
"""At least 128 bits even in base64, which puts six bits into a character."""
MODEL = re.compile(r"[\w.:/@+-]{1,128}")
NEW_CALL_PATHS = ("/realtime", "/v1/realtime", "/openai/v1/realtime", "/openai/realtime")
"""Where calls start: our own, OpenAI's, and Azure's two, of which its SDK uses the second."""
NOT_CALLS = frozenset({"transcription", "translation"})
"""What else OpenAI serves at these paths; a client that asks for it would wait in vain for what it gives."""
NAMES_CALL = re.compile(rb"(?:^|&)call_id=")
FLAGS = {"1": True, "true": True, "0": False, "false": False, "": False}


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """A checked request. `call_id` set: a resume with `resume_token`; else a start, which `call_key` may turn into one.

    `model` "" means the default agent; Azure's clients call it their deployment. `last_event` None goes on at the end
    of the outbox.
    """

    model: str
    call_id: str | None
    resume_token: str | None
    call_key: str | None
    last_event: int | None
    resumable: bool
    resumable_now: bool
    going_away: bool
    received: bool
    directed: bool


def is_resume(path: bytes, query: bytes) -> bool:
    """Whether a URL, not decoded, names the call that it wants: such a request never starts one."""
    return path.startswith(b"/realtime/") or NAMES_CALL.search(query) is not None


def parse(query: bytes, headers: Headers, path_call_id: str | None) -> ConnectRequest:
    """Read a request; raises `ConnectionRefused` (400) that names the parameter which is wrong.

    Parameters that mean nothing here are ignored, for clients add their own.
    """
    fields = _fields(query)
    call_id = fields.get("call_id")
    if path_call_id is not None:
        if call_id not in (None, path_call_id):
            raise _bad("call_id", "The URL names two different calls.")
        call_id = path_call_id
    if call_id is not None and not CALL_ID.fullmatch(call_id):
        raise _bad("call_id", "A call id is 'call_' and 26 characters of a-z and 2-7.")
    call_key = fields.get("call_key")
    if call_key is not None and not CALL_KEY.fullmatch(call_key):
        raise _bad("call_key", "A call key has 22 to 256 printable characters without spaces; a UUID4 will do.")
    intent = fields.get("intent", "")
    if intent in NOT_CALLS:
        raise _bad("intent", f"Only calls, which are answered, are served, no {intent}: leave this parameter out.")
    model = fields.get("model") or fields.get("deployment", "")
    if model and not MODEL.fullmatch(model):
        raise _bad("model", "This cannot be the name of an agent.")
    last_event = _event(fields.get("last_event_id"))
    if last_event is not None and call_id is None and call_key is None:
        raise _bad("last_event_id", "To resume, give call_id and resume_token, or call_key, beside it.")
    going_away = _flag(fields, "going_away")
    resumable_now = fields.get("resumable", "").lower() == "now"
    return ConnectRequest(
        model=model,
        call_id=call_id,
        resume_token=fields.get("resume_token") or headers.get("x-resume-token"),
        call_key=call_key,
        last_event=last_event,
        resumable=resumable_now or _flag(fields, "resumable") or going_away or call_key is not None,
        resumable_now=resumable_now,
        going_away=going_away,
        received=_flag(fields, "received"),
        directed=_flag(fields, "directed"),
    )


KNOWN = frozenset(
    {
        "model",
        "deployment",
        "intent",
        "call_id",
        "resume_token",
        "call_key",
        "last_event_id",
        "resumable",
        "going_away",
        "received",
        "directed",
    }
)


def _fields(query: bytes) -> dict[str, str]:
    """The parameters that mean something here. Others are not even decoded: they may be in any encoding, and many."""
    fields: dict[str, str] = {}
    for pair in query.split(b"&"):
        packed_name, _, packed = pair.partition(b"=")
        name = unquote_to_bytes(packed_name).decode("latin-1")
        if name not in KNOWN:
            continue
        try:
            value = unquote_to_bytes(packed.replace(b"+", b" ")).decode()
        except UnicodeDecodeError:
            raise _bad(name, "The value is not UTF-8.") from None
        if fields.setdefault(name, value) != value:
            raise _bad(name, "The URL gives this parameter twice.")
    return fields


def _event(event_id: str | None) -> int | None:
    if event_id is None:
        return None
    number = event_number(event_id)
    if number is None:
        raise _bad("last_event_id", f"An event id is '{PREFIX}' and a number of at most {MAX_EVENT_NUMBER}.")
    return number


def _flag(fields: dict[str, str], name: str) -> bool:
    value = FLAGS.get(fields.get(name, "").lower())
    if value is None:
        raise _bad(name, "This is a switch: 1 or 0.")
    return value


def _bad(param: str | None, message: str) -> ConnectionRefused:
    return ConnectionRefused(400, "invalid_parameter", message, param=param)
