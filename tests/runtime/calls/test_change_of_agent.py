"""A call goes on under another agent on the same pod, as it would on another pod."""

from __future__ import annotations

import asyncio

from tests.runtime.alone import alone
from tests.runtime.engine.agents import Acting
from tests.runtime.engine.crashes import Tape, engine_call, settled, whole
from tests.runtime.engine.test_speaking import ask, in_order, say
from tests.runtime.faulty import FaultyStore
from tests.runtime.rig import Rig
from tests.waiting import until
from voice_agent.call.inputs import AppendAudio, VoiceBoundary
from voice_agent.kit.clip import Clip
from voice_agent.kit.ear import Ear
from voice_agent.kit.events import Asked, Heard


async def test_a_reply_goes_on_under_another_agent_after_each_of_its_writes() -> None:
    """Text and audio are those of a call under one agent, and the first one is asked nothing more."""
    tape = await whole(Acting(say), ask)
    for moment in range(1, len(tape.snapshots), 3):
        first, second, changed = Acting(say), Acting(say), Tape()
        async with alone(engine_call(), first) as its:
            changed.listen(its)
            its.attach()
            its.live.resume_work()
            await ask(its)
            await until(lambda changed=changed, moment=moment: len(changed.snapshots) >= moment)
            seen = list(first.events)
            its.live.change_agent(second)
            await settled(its)
        assert (changed.got.text, changed.got.audio) == (tape.got.text, tape.got.audio)
        in_order(changed.got)
        assert first.events == seen
        assert its.live.responder.agent is second


class SlowEar(Ear):
    """Never understands anything."""

    async def transcribe(self, clip: Clip) -> str | None:
        await asyncio.Event().wait()
        return None


async def test_what_the_caller_said_is_heard_by_the_other_one() -> None:
    """Though the first one was about to understand it."""
    first, second = Acting(), Acting()
    first.ear = SlowEar()
    async with alone(engine_call(), first) as its:
        its.attach()
        await until(lambda: first.kinds == ["Started"])
        audio = bytes(48 * 500)
        its.live.feed(AppendAudio(audio, None, (VoiceBoundary(True, 0), VoiceBoundary(False, len(audio)))))
        await asyncio.sleep(0)
        its.live.change_agent(second)
        await until(lambda: second.kinds[-2:] == ["Heard", "Asked"])
        heard, asked = second.events[-2:]
        assert isinstance(heard, Heard)
        assert isinstance(asked, Asked)
        assert (heard.text, asked.text) == ("hello", "hello")


class AgentsByName:
    """Where a pod of the tests below has its agents from."""

    def __init__(self, *agents: Acting) -> None:
        self.by_name = {agent.name: agent for agent in agents}

    def agent(self, model: str) -> Acting:
        return self.by_name[model]


async def test_all_calls_of_a_pod_that_have_an_agent_of_the_name_get_the_new_one() -> None:
    """Attached or parked; calls of other agents stay as they are."""
    first, second, other = Acting(), Acting(), Acting()
    other.name = "other"
    its = Rig(FaultyStore(), AgentsByName(first, other))  # type: ignore[arg-type]  # of the other kind
    pod = await its.pod()
    for model in ("acting", "acting", "other"):
        await (await its.start(pod, model=model, resumable=True)).greeting()
    parked, attached, of_other = pod.owned
    kept = of_other.responder
    await its.callers[0].gone()
    assert parked.connection is None
    await pod.owned.change_agent(second)
    assert [live.responder.agent for live in (parked, attached)] == [second, second]
    changed = attached.responder
    await pod.owned.change_agent(second)
    assert (attached.responder, of_other.responder) == (changed, kept)
    await pod.close()
