"""What an agent remembers refuses at once what cannot be kept."""

from __future__ import annotations

from typing import Any

import pytest

from voice_agent.runtime.engine.agent_state import MAX_STATE_BYTES, AgentState


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.__setitem__("when", object()),
        lambda state: state.update(fine=1, when=object()),
        lambda state: state.update({"fine": 1, 7: "a name that is no text"}),
        lambda state: state.setdefault("when", {1, 2}),
        lambda state: state.__ior__({"when": object()}),
    ],
)
def test_what_does_not_survive_json_is_refused_where_it_is_set(change: Any) -> None:
    """By name, and nothing of the change is taken."""
    state = AgentState({"count": 1})
    with pytest.raises(TypeError, match="state"):
        change(state)
    assert state == {"count": 1}


def test_what_is_changed_within_a_value_is_found_at_the_end() -> None:
    """It is refused as late as that, and still before it could be lost."""
    state = AgentState({"list": []})
    state["list"].append(object())
    with pytest.raises(TypeError, match="JSON"):
        state.packed()


def test_a_state_that_is_too_large_names_what_takes_most() -> None:
    """And the limit."""
    state = AgentState({"small": 1})
    state["notes"] = "x" * MAX_STATE_BYTES
    with pytest.raises(ValueError, match=rf"at most {MAX_STATE_BYTES}.*'notes'"):
        state.packed()


def test_it_is_used_like_a_dictionary() -> None:
    """All ways to set something."""
    state = AgentState({})
    state["a"] = 1
    state.update(b=2)
    state |= {"c": 3}
    assert state.setdefault("a", 9) == 1
    assert state.setdefault("d", 4) == 4
    assert state == {"a": 1, "b": 2, "c": 3, "d": 4}
