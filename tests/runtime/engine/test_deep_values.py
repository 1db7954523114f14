"""What an agent keeps may be nested as deep as JSON is written here: deeper is refused, and harms nothing."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.runtime.engine.agents import Acting
from voice_agent.kit.call import Call
from voice_agent.kit.events import Asked, Event
from voice_agent.testing.script import Type
from voice_agent.testing.simulate import simulate


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    return orjson.loads(b"[" * depth + b"]" * depth)


@pytest.mark.parametrize("depth", range(248, 258))
def test_what_a_side_effect_gave_is_kept_or_refused_however_deep_it_is(depth: int) -> None:
    """Refused where it is given, as what is no JSON is; what is taken can be written and read again."""
    refused: list[bool] = []

    async def act(call: Call, event: Event) -> None:
        if not isinstance(event, Asked):
            return

        async def give(key: str) -> Any:
            return nested(depth)

        try:
            await call.once("deep", give)
        except TypeError:
            refused.append(True)
        try:
            call.state["deep"] = nested(depth)
        except TypeError:
            refused.append(True)
        async with call.speak() as speech:
            await speech.text("Yes. ")

    run = simulate(lambda: Acting(act), [Type("a"), Type("b")])
    assert [reply.text for reply in run.replies] == ["Yes. ", "Yes. "]
    assert not run.errors
    assert bool(refused) == (depth > 253)
