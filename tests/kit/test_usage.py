"""What `metered` tells of a request, and when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from voice_agent.call.usage import MAX_FIGURE, MAX_MODEL_CHARS, MAX_PROVIDER_CHARS, Figures
from voice_agent.kit.usage import METER, UNNAMED, metered


class NotingMeter:
    """Notes what it is told; its `begin` waits for `may_begin`."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.may_begin = asyncio.Event()
        self.may_begin.set()

    async def begin(self, request_id: str, provider: str, model: str) -> None:
        self.told.append(("begun", provider, model))
        await self.may_begin.wait()

    def end(self, request_id: str, figures: Figures) -> None:
        self.told.append(("ended", request_id, dict(figures)))

    def attribute(self, request_id: str, response_id: str) -> None:
        self.told.append(("attributed", request_id, response_id))

    def without_responses(self) -> NotingMeter:
        return self


async def ask(meter: NotingMeter | None, provider: str = "openai", model: str = "gpt-5-mini") -> None:
    """A request of which nothing is told."""
    METER.set(meter)
    async with metered(provider, model):
        pass


async def test_what_was_told_last_of_each_figure_counts_once_it_is_left() -> None:
    """Providers that tell what was used so far, again and again, are not counted twice."""
    meter = NotingMeter()
    METER.set(meter)
    async with metered("openai", "gpt-5-mini") as request:
        request.tokens(input=12, output=1)
        request.tokens(output=40, cached_input=0, input_audio=3, output_audio=4)
        request.characters(57)
        request.audio_ms(1800)
        assert meter.told == [("begun", "openai", "gpt-5-mini")]
    figures = {
        "input_tokens": 12,
        "output_tokens": 40,
        "cached_input_tokens": 0,
        "input_audio_tokens": 3,
        "output_audio_tokens": 4,
        "characters": 57,
        "audio_ms": 1800,
    }
    assert meter.told[1:] == [("ended", request.id, figures)]


async def test_outside_of_a_call_nothing_is_counted_and_everything_works() -> None:
    """A tool of an author that asks a provider while the server starts, say."""
    METER.set(None)
    async with metered("openai", "gpt-5-mini") as request:
        request.tokens(input=1)
        request.for_response("resp_1")
    assert request.id.startswith("req_")


@pytest.mark.parametrize("figure", [None, -1, True, 1.5, "12", MAX_FIGURE + 1, 10**400, float("nan")])
async def test_a_figure_that_cannot_be_is_not_known(figure: Any) -> None:
    """It comes from a provider as it is, and must not end the call."""
    meter = NotingMeter()
    METER.set(meter)
    async with metered("openai", "gpt-5-mini") as request:
        request.tokens(input=figure, output=figure)
        request.characters(figure)
        request.audio_ms(figure)
    assert meter.told[-1] == ("ended", request.id, {})


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError(), StopAsyncIteration(), GeneratorExit()])
async def test_whatever_ends_a_request_it_is_over_and_the_error_goes_on(error: BaseException) -> None:
    """Also what a context manager made of a generator would change on its way."""
    meter = NotingMeter()
    METER.set(meter)
    with pytest.raises(type(error)) as raised:
        async with metered("openai", "gpt-5-mini"):
            raise error
    assert raised.value is error
    assert [kind for kind, *_ in meter.told] == ["begun", "ended"]


async def test_a_request_whose_beginning_is_cancelled_is_not_made() -> None:
    """Its body is not entered, and no end is told."""
    meter = NotingMeter()
    meter.may_begin.clear()
    asking = asyncio.create_task(ask(meter))
    while not meter.told:
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert [kind for kind, *_ in meter.told] == ["begun"]


async def test_requests_in_one_another_are_two() -> None:
    """Each with figures of its own: a tool that asks a model, for a model."""
    meter = NotingMeter()
    METER.set(meter)
    async with metered("one", "a") as outer:
        async with metered("two", "b") as inner:
            inner.tokens(input=1)
        outer.tokens(input=2)
    assert outer.id != inner.id
    assert meter.told[2:] == [
        ("ended", inner.id, {"input_tokens": 1}),
        ("ended", outer.id, {"input_tokens": 2}),
    ]


async def test_a_request_is_counted_once() -> None:
    """Entered again, it would be another one under the same id."""
    METER.set(NotingMeter())
    once = metered("openai", "gpt-5-mini")
    async with once:
        pass
    with pytest.raises(RuntimeError, match="metered once"):
        async with once:
            pass


@pytest.mark.parametrize(
    ("given", "counted"),
    [
        (("localhost:8000", "meta-llama/Llama-3.1"), ("localhost:8000", "meta-llama/Llama-3.1")),
        (("a/b c", "ä\ud800\n"), ("a_b_c", "___")),
        (("", ""), (UNNAMED, UNNAMED)),
        (("x" * 10**6, "y" * 10**6), ("x" * MAX_PROVIDER_CHARS, "y" * MAX_MODEL_CHARS)),
    ],
)
async def test_names_are_made_fit_for_the_record_and_for_labels(given: Any, counted: Any) -> None:
    """A provider's name has no slash, so that it is found again in front of the first."""
    meter = NotingMeter()
    await ask(meter, *given)
    assert meter.told[0] == ("begun", *counted)


async def test_the_tasks_of_a_task_count_for_the_same_call() -> None:
    """One that reads a model's stream, while another one speaks."""
    meter = NotingMeter()
    METER.set(meter)

    async def read() -> None:
        async with metered("openai", "gpt-5-mini"):
            pass

    await asyncio.create_task(read())
    assert len(meter.told) == 2


async def test_a_request_may_be_said_to_be_for_a_response() -> None:
    """One that was begun before its response."""
    meter = NotingMeter()
    METER.set(meter)
    async with metered("openai", "gpt-5-mini") as request:
        request.for_response("resp_1")
    assert meter.told[1] == ("attributed", request.id, "resp_1")
