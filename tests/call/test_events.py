"""The server's events, where the official SDK's types leave more than one body possible."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from tests.call.calls import FRAME, emitted, feed, item_id, new_call, response_id
from tests.call.engine import finish
from voice_agent.call import events, inputs

SPOKEN: list[dict[str, Any]] = [
    {"type": "response.content_part.added", "part": {"type": "audio", "transcript": ""}},
    {"type": "response.output_audio_transcript.delta", "delta": "Hi"},
    {"type": "response.output_audio_transcript.delta", "delta": " there."},
    {"type": "response.output_audio.delta"},
    {"type": "response.output_audio.done"},
    {"type": "response.output_audio_transcript.done", "transcript": "Hi there."},
    {"type": "response.content_part.done", "part": {"type": "audio", "transcript": "Hi there."}},
]
WRITTEN: list[dict[str, Any]] = [
    {"type": "response.content_part.added", "part": {"type": "text", "text": ""}},
    {"type": "response.output_text.delta", "delta": "Hi"},
    {"type": "response.output_text.delta", "delta": " there."},
    {"type": "response.output_text.done", "text": "Hi there."},
    {"type": "response.content_part.done", "part": {"type": "text", "text": "Hi there."}},
]


@pytest.mark.parametrize(("modality", "told"), [("audio", SPOKEN), ("text", WRITTEN)])
def test_a_part_of_a_reply_is_told_in_pieces_and_as_a_whole(modality: str, told: list[dict[str, Any]]) -> None:
    """Every piece names its place; the audio itself goes beside the body."""
    call = new_call(output_modalities=[modality])
    feed(call, inputs.CreateResponse({}))
    feed(call, inputs.ResponseText(response_id(1), "Hi"), inputs.ResponseText(response_id(1), " there."))
    if modality == "audio":
        feed(call, inputs.ResponseAudio(response_id(1), FRAME))
    feed(call, finish)
    place = {"response_id": response_id(1), "item_id": item_id(1), "output_index": 0, "content_index": 0}
    assert [event for event in emitted(call) if "content_index" in event] == [{**place, **event} for event in told]


@pytest.mark.parametrize(
    ("heard_ms", "spoken_ms", "tokens"),
    [(0, 0, None), (1, 0, (1, 0)), (0, 1, (0, 1)), (100, 50, (1, 1)), (101, 51, (2, 2)), (2600, 1000, (26, 20))],
)
def test_a_token_that_is_begun_counts(heard_ms: int, spoken_ms: int, tokens: tuple[int, int] | None) -> None:
    """Of what was heard and of what was spoken, each by itself; without either there is no usage to tell."""
    used = events.usage(heard_ms, spoken_ms)
    if tokens is None:
        assert used is None
    else:
        assert used == {
            "input_token_details": {"audio_tokens": tokens[0]},
            "output_token_details": {"audio_tokens": tokens[1]},
        }


def parsed(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def test_every_builder_is_used_and_no_body_is_built_elsewhere() -> None:
    """An event that no rule emits is promised to clients in vain; one built in place is compared with no SDK."""
    module = Path(events.__file__)
    rules = [node for path in module.parent.glob("*.py") if path != module for node in parsed(path)]
    used = {
        node.attr
        for node in rules
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "events"
    }
    builders = {
        node.name
        for node in parsed(module)
        if isinstance(node, ast.FunctionDef)
        and not node.name.startswith("_")
        and ast.unparse(node.returns or node) != "bytes"
    }
    assert builders - used == set()
    built = [
        ast.unparse(node)
        for node in rules
        if isinstance(node, ast.Dict)
        and any(isinstance(key, ast.Constant) and key.value == "type" for key in node.keys)
        and any(
            isinstance(value, ast.Constant) and str(value.value).startswith(("response.", "conversation.", "session."))
            for value in node.values
        )
    ]
    assert built == []
