"""The conversation as `/chat/completions` wants it.

Items of the Realtime protocol become messages. A model's API refuses what the protocol allows: a call of a function
without its result, a result far behind its call, or one whose call was deleted. So results stand right behind their
calls, a call without one gets a note in its place, and a result without a call is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

Message = dict[str, Any]

NOT_UNDERSTOOD = "[not understood]"
"""In the place of what the caller said, where no ear understood it."""
NOT_SHOWN = "[not text]"
"""In the place of a part that is none, such as an image."""
NO_RESULT = '{"status": "no result yet"}'


def messages_of(
    items: Sequence[Mapping[str, Any]], kept: Mapping[str, Sequence[Message]] | None = None
) -> list[Message]:
    """Messages for these items, oldest first.

    `kept`: by the id of an item, messages that stand behind it, though no item says so.
    """
    outputs = {item.get("call_id"): item for item in items if item.get("type") == "function_call_output"}
    found: list[Message] = []
    for item in items:
        match item.get("type"):
            case "message":
                _add(found, item.get("role"), _text(item))
            case "function_call":
                _add_call(found, item, outputs.get(item.get("call_id")))
            case _:
                pass
        found += map(dict, (kept or {}).get(str(item.get("id")), ()))
    return found


def tool_calls(calls: Iterable[tuple[str, str, str]], text: str = "") -> Message:
    """What the assistant said, and called: of each call its id, name and arguments, "{}" for what is no JSON object."""
    asked = [
        {
            "id": call_id,
            "type": "function",
            "function": {"name": name, "arguments": arguments if is_object(arguments) else "{}"},
        }
        for call_id, name, arguments in calls
    ]
    return {"role": "assistant", "content": text or None, "tool_calls": asked}


def is_object(text: str) -> bool:
    """Whether it is a JSON object: a provider refuses a conversation in which a tool was called with anything else."""
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


def tool_result(call_id: str, output: str) -> Message:
    """What one call gave."""
    return {"role": "tool", "tool_call_id": call_id, "content": output}


def functions(tools: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tools of the protocol, or of the server, as the API describes functions; other kinds are left out."""
    return [
        {
            "type": "function",
            "function": {key: tool[key] for key in ("name", "description", "parameters") if tool.get(key)},
        }
        for tool in tools
        if tool.get("type", "function") == "function" and tool.get("name")
    ]


def choice(tool_choice: str | Mapping[str, Any]) -> str | dict[str, Any]:
    """Which tool must be called, as the API has it."""
    if isinstance(tool_choice, str):
        return tool_choice
    return {"type": "function", "function": {"name": tool_choice.get("name", "")}}


def _add(found: list[Message], role: Any, text: str) -> None:
    """One more message. Two of the caller in a row are one: some servers want roles to take turns."""
    if role not in ("system", "user", "assistant") or not text.strip():
        return
    if found and found[-1]["role"] == role and role != "system" and "tool_calls" not in found[-1]:
        found[-1]["content"] += "\n" + text
    else:
        found.append({"role": role, "content": text})


def _add_call(found: list[Message], item: Mapping[str, Any], output: Mapping[str, Any] | None) -> None:
    call_id, name, arguments = (str(item.get(key) or "") for key in ("call_id", "name", "arguments"))
    if found and found[-1]["role"] == "assistant" and "tool_calls" not in found[-1]:
        text = found.pop()["content"]
    else:
        text = ""
    found.append(tool_calls([(call_id, name, arguments)], text))
    found.append(tool_result(call_id, str(output.get("output") or "") if output is not None else NO_RESULT))


def _text(item: Mapping[str, Any]) -> str:
    return " ".join(filter(None, map(_text_of, item.get("content") or ())))


def _text_of(part: Mapping[str, Any]) -> str:
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return str(part.get("text") or "")
        case "input_audio":
            transcript = part.get("transcript")
            return NOT_UNDERSTOOD if transcript is None else str(transcript)
        case "output_audio" | "audio":
            return str(part.get("transcript") or "")
        case _:
            return NOT_SHOWN
