"""A model is asked in the caller's pause."""

from __future__ import annotations

import asyncio

from tests.agents.pipeline.models import Models
from tests.doubles.provider import Provider
from voice_agent.agents.pipeline.reading import AnswerReader
from voice_agent.agents.pipeline.speculation import Speculation
from voice_agent.kit.hearing import Hearing, HearingKind
from voice_agent.providers.chat import ChatRequest
from voice_agent.testing.script import Type
from voice_agent.testing.simulate import simulate, survives


class Read:
    """In place of a reader."""

    def __init__(self) -> None:
        self.is_closed = False

    async def close(self) -> None:
        self.is_closed = True


class Speculating:
    """What was begun."""

    def __init__(self) -> None:
        self.begun: list[tuple[ChatRequest, Read]] = []
        self.speculation = Speculation(request, self._begin)

    def _begin(self, asked: ChatRequest) -> AnswerReader:
        self.begun.append((asked, Read()))
        return self.begun[-1][1]  # type: ignore[return-value]  # closed is all that it is

    async def hear(self, *hearings: Hearing) -> None:
        async def all_of_them() -> object:
            for each in hearings:
                yield each

        await self.speculation.watch(all_of_them())  # type: ignore[arg-type]  # a generator is one
        await asyncio.sleep(0)

    @property
    def open(self) -> list[str]:
        return [str(asked.messages[0]["content"]) for asked, read in self.begun if not read.is_closed]


def request(text: str) -> ChatRequest | None:
    return None if text == "busy" else ChatRequest(messages=[{"role": "user", "content": text}])


def heard(kind: HearingKind, text: str | None = None, item_id: str | None = "item_a") -> Hearing:
    return Hearing(kind, text, item_id)


PAUSED = heard(HearingKind.PAUSED, "hello")


async def test_what_is_asked_in_a_pause_is_used_if_the_reply_asks_the_same() -> None:
    """Once."""
    one = Speculating()
    await one.hear(PAUSED, heard(HearingKind.STOPPED, "hello"))
    asked = request("hello")
    assert asked is not None
    taken: object = one.speculation.take(asked)
    assert taken is one.begun[0][1]
    assert one.speculation.take(asked) is None
    await one.speculation.close()
    assert one.open == ["hello"]


async def test_it_is_thrown_away_if_the_reply_asks_otherwise() -> None:
    """No request is left open."""
    one = Speculating()
    await one.hear(PAUSED)
    other = request("hello there")
    assert other is not None
    assert one.speculation.take(other) is None
    await one.speculation.close()
    assert one.open == []


async def test_it_is_thrown_away_when_the_caller_goes_on_or_nothing_comes_of_it() -> None:
    """There is one at a time."""
    for kind in (HearingKind.RESUMED, HearingKind.PARTIAL, HearingKind.STARTED):
        one = Speculating()
        await one.hear(PAUSED, heard(kind), heard(HearingKind.PAUSED, "hello there"))
        assert one.open == ["hello there"]
    one = Speculating()
    await one.hear(PAUSED, heard(HearingKind.STOPPED, "hello", None))
    assert one.open == []


async def test_more_that_is_understood_in_the_pause_is_asked_instead() -> None:
    """The same again is not."""
    one = Speculating()
    await one.hear(PAUSED, PAUSED, heard(HearingKind.PAUSED, "hello you"))
    assert [str(asked.messages[0]["content"]) for asked, _ in one.begun] == ["hello", "hello you"]
    assert one.open == ["hello you"]


async def test_nothing_is_asked_while_nothing_is_known_or_something_is_handled() -> None:
    """Then the reply asks."""
    one = Speculating()
    await one.hear(heard(HearingKind.PAUSED), heard(HearingKind.PAUSED, " "), heard(HearingKind.PAUSED, "busy"))
    assert one.begun == []


def test_a_spoken_turn_is_asked_about_once_and_its_answer_begins_sooner() -> None:
    """The request that was begun in the pause is the reply's."""
    words_s = {}
    for speculate in (True, False):
        provider = Provider()
        provider.first_s["chat"] = 0.3
        models = Models(provider)
        run = simulate(
            models.agent, ["hello", "and you. I say so. Is it"], surroundings=models.around(speculate=speculate)
        )
        assert run.errors == []
        assert run.text == "You said: helloYou said: and you. I say so. Is it"
        assert len(models.asked()) == 2
        assert models.open_requests == 0
        words_s[speculate] = run.conduct.first_words_s["Asked 2"]
    assert words_s[True] <= words_s[False] - 0.1


def test_a_crash_at_any_moment_of_it_changes_nothing() -> None:
    """Nor does it leave a request open where no pod dies."""
    models = Models()
    survives(models.agent, ["hello", Type("more"), "and you"], surroundings=models.around(speculate=True), every=5)
