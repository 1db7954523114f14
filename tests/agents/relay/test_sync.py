"""After a sync the conversation of an upstream is ours. Tests of `sync` and `content`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from voice_agent.agents.relay.content import INAUDIBLE, Content, ContentReader
from voice_agent.agents.relay.requests import create_item, delete_item
from voice_agent.agents.relay.sync import MAX_CALL_ID_CHARS, HeldItem, plan, wanted_of

TEXTS = st.sampled_from(["", " ", "hello", "a table, please", "for three"])


class Upstream:
    """A conversation as the protocol has it: takes events, and refuses what cannot be."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []

    def take(self, event: Mapping[str, Any]) -> None:
        """An event of a client."""
        ids = [item["id"] for item in self.items]
        if event["type"] == "conversation.item.delete":
            del self.items[ids.index(event["item_id"])]
            return
        behind, item = event["previous_item_id"], dict(event["item"])
        assert item["id"] not in ids
        if item["type"] == "function_call_output":
            before = self.items[: ids.index(behind) + 1]
            assert item["call_id"] in [one.get("call_id") for one in before if one["type"] == "function_call"]
        self.items.insert(0 if behind == "root" else ids.index(behind) + 1, item)

    def says(self) -> list[Content | None]:
        """What a model reads of it."""
        reader = ContentReader()
        return [reader.read(item) for item in self.items]


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Ours: messages, calls and their outputs."""
    items: list[dict[str, Any]] = []
    calls: list[str] = []
    for number in range(draw(st.integers(0, 8))):
        item: dict[str, Any] = {"id": f"item_{draw(st.integers(0, 30))}_{number}"}
        match draw(st.sampled_from(["typed", "spoken", "said", "call", "output", "other"])):
            case "typed":
                role = draw(st.sampled_from(["user", "system"]))
                item |= {"type": "message", "role": role, "content": [{"type": "input_text", "text": draw(TEXTS)}]}
            case "spoken":
                part = {"type": "input_audio", "transcript": draw(st.none() | TEXTS)}
                item |= {"type": "message", "role": "user", "content": [part]}
            case "said":
                part = {"type": "output_audio", "transcript": draw(TEXTS)}
                item |= {"type": "message", "role": "assistant", "content": [part]}
            case "call":
                calls.append(f"fc_{number}" + "x" * draw(st.integers(0, 40)))
                item |= {"type": "function_call", "call_id": calls[-1], "name": draw(TEXTS), "arguments": draw(TEXTS)}
            case "output" if calls:
                call_id = draw(st.sampled_from(calls))
                item |= {"type": "function_call_output", "call_id": call_id, "output": draw(TEXTS)}
            case _:
                item |= {"type": "something_new"}
        items.append(item)
    return items


def edited(items: list[dict[str, Any]], data: st.DataObject) -> list[dict[str, Any]]:
    """Some of them gone, cut or new; an output stays behind its call."""
    kept = [item for item in items if data.draw(st.integers(0, 4)) or item["type"] == "function_call"]
    return [
        *kept,
        *({**item, "id": f"{item['id']}_new"} for item in data.draw(conversations()) if "call_id" not in item),
    ]


@given(st.data())
def test_after_each_sync_the_upstream_has_what_we_have_and_knows_it(data: st.DataObject) -> None:
    """Whatever was said, deleted, cut and created in between: what is held is what is there, and both are ours."""
    upstream, held = Upstream(), list[HeldItem]()
    ours = data.draw(conversations())
    numbers = iter(range(1_000))
    for _ in range(3):
        wanted = wanted_of(ours, lambda _: False)
        made = plan(held, wanted, lambda our_id: f"up_{next(numbers)}")
        for gone in made.deleted:
            upstream.take(delete_item(gone.upstream_id))
        for _created, behind, item in made.created:
            upstream.take(create_item(item, behind.upstream_id if behind is not None else ""))
        held = made.held
        assert upstream.says() == [one.content for one in wanted]
        assert [(one.upstream_id, one.content) for one in held] == [
            (item["id"], content) for item, content in zip(upstream.items, upstream.says(), strict=True)
        ]
        assert all(len(item.get("call_id", "")) <= MAX_CALL_ID_CHARS for item in upstream.items)
        ours = edited(ours, data)


def test_what_stands_on_both_sides_is_left_alone() -> None:
    """The upstream's own items stay, with their audio; what is new is created, and nothing else."""
    heard = {
        "id": "item_1",
        "type": "message",
        "role": "user",
        "content": [{"type": "input_audio", "transcript": None}],
    }
    said = {
        "id": "item_2",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_audio", "transcript": "We are open. "}],
    }
    typed = {"id": "item_3", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "and now"}]}
    held = [
        HeldItem("up_1", Content("message", INAUDIBLE, "user", audio_of="item_1")),
        HeldItem("up_2", Content("message", "We are open.", "assistant")),
    ]
    made = plan(held, wanted_of([heard, said, typed], lambda our_id: our_id == "item_1"), lambda our_id: our_id)
    assert not made.deleted
    [(created, behind, item)] = made.created
    assert (created.upstream_id, behind, item["content"]) == (
        "item_3",
        held[1],
        [{"type": "input_text", "text": "and now"}],
    )


def test_an_output_whose_call_is_created_anew_goes_with_it() -> None:
    """It would name a call that is not there any more."""
    call = {"id": "a", "type": "function_call", "call_id": "ours", "name": "look", "arguments": "{}"}
    output = {"id": "b", "type": "function_call_output", "call_id": "ours", "output": "7"}
    held = [
        HeldItem("up_1", Content("function_call", '{"other": 1}', name="look"), call_id="theirs"),
        HeldItem("up_2", Content("function_call_output", "7", call=0)),
    ]
    made = plan(held, wanted_of([call, output], lambda _: False), lambda our_id: our_id)
    assert [one.upstream_id for one in made.deleted] == ["up_1", "up_2"]
    assert [item["call_id"] for _, _, item in made.created] == ["ours", "ours"]


def test_an_output_of_a_call_that_the_upstream_made_names_it_as_the_upstream_does() -> None:
    """Ours has another id of the same call."""
    call = {"id": "a", "type": "function_call", "call_id": "ours", "name": "look", "arguments": "{}"}
    output = {"id": "b", "type": "function_call_output", "call_id": "ours", "output": "7"}
    held = [HeldItem("up_1", Content("function_call", "{}", name="look"), call_id="theirs")]
    made = plan(held, wanted_of([call, output], lambda _: False), lambda our_id: our_id)
    assert [item["call_id"] for _, _, item in made.created] == ["theirs"]
