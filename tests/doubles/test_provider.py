"""The double is an OpenAI to the official client, counts what it was asked, and fails as planned."""

from __future__ import annotations

import io
import time
import wave
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.doubles.answers import wav_head
from tests.doubles.counting import count
from tests.doubles.faults import Fault
from tests.doubles.provider import Provider
from tests.doubles.serving import Served, served
from tests.doubles.test_model import ALL, ASKED, LOOK_UP
from tests.doubles.tones import RATE_HZ, sound_of, words_in
from tests.waiting import PATIENCE_S, until

TEXT = "We are open from nine to five."


@pytest.fixture
def double() -> Iterator[Served]:
    with served(Provider(key="secret")) as found:
        yield found


@pytest.fixture
def client(double: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=double.url, api_key="secret", max_retries=0, timeout=PATIENCE_S) as found:
        yield found


def streamed(client: openai.OpenAI, **more: Any) -> Any:
    return client.chat.completions.create(
        model="m",
        messages=[ASKED],
        stream=True,
        stream_options={"include_usage": True},
        **more,
    )


def wav(audio: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        writer.writeframes(audio)
    return file.getvalue()


def test_it_streams_an_answer_with_its_usage(double: Served, client: openai.OpenAI) -> None:
    """Token by token; the last chunk has no choice but the figures, which are those of the log."""
    chunks = list(streamed(client, temperature=0.3))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == ALL
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1] if chunk.choices[0].finish_reason] == ["stop"]
    [request] = double.provider.log.all
    usage = chunks[-1].usage
    assert usage is not None
    assert chunks[-1].choices == []
    counted = {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}
    assert counted.items() <= request.usage.items()
    assert (request.task, request.model, request.status, request.is_complete) == ("chat", "m", 200, True)
    assert request.answer == ALL
    assert request.first_byte_at is not None
    assert request.first_sentence_at is not None
    deadline_s = time.monotonic() + PATIENCE_S
    while request.ended_at is None:  # The server's task is over a moment after its answer is.
        assert time.monotonic() < deadline_s
        time.sleep(0.001)
    assert request.began_at <= request.first_byte_at <= request.first_sentence_at <= request.ended_at


def test_it_answers_whole(client: openai.OpenAI) -> None:
    """And no longer than it may."""
    whole = client.chat.completions.create(model="m", messages=[ASKED], max_completion_tokens=4)
    assert whole.choices[0].message.content == "Bafa bafe"
    assert whole.choices[0].finish_reason == "length"


def test_it_calls_tools_in_pieces(client: openai.OpenAI) -> None:
    """As the client's own stream puts them together again."""
    with client.chat.completions.stream(
        model="m",
        messages=[ASKED],
        tools=[LOOK_UP],
        tool_choice="required",
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls is not None
    [called] = message.tool_calls
    assert (called.function.name, called.function.arguments) == ("look_up", '{"order": "7", "most": 7}')
    result = {"role": "tool", "tool_call_id": called.id, "content": "on its way"}
    function = {"name": called.function.name, "arguments": called.function.arguments}
    asking = {"role": "assistant", "tool_calls": [{"id": called.id, "type": "function", "function": function}]}
    after: Any = [ASKED, asking, result]
    told = client.chat.completions.create(model="m", messages=after, tools=[LOOK_UP])
    assert told.choices[0].message.content == f"The tool says: on its way. {ALL}"
    with pytest.raises(openai.BadRequestError, match="response messages"):
        client.chat.completions.create(model="m", messages=after[:2])


def test_it_hears_what_it_says(double: Served, client: openai.OpenAI) -> None:
    """Speech as PCM, and as a WAV without a length; heard, it is the same words."""
    pcm = client.audio.speech.create(model="tts", voice="alloy", input=TEXT, response_format="pcm").content
    assert pcm == sound_of(TEXT)
    stream = client.audio.speech.create(model="tts", voice="alloy", input=TEXT, response_format="wav").content
    assert stream == wav_head() + sound_of(TEXT)
    for file in (wav(pcm), stream):
        heard = client.audio.transcriptions.create(model="whisper-1", file=("speech.wav", file))
        assert heard.text == "we are open from nine to five"
    tokens = client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("speech.wav", wav(pcm)))
    assert tokens.usage is not None
    assert tokens.usage.type == "tokens"
    spoken, _, listened, _, counted = double.provider.log.all
    assert spoken.usage == {"characters": len(TEXT)}
    assert listened.usage == {"audio_ms": len(pcm) // 48}
    assert counted.usage["input_tokens"] == tokens.usage.input_tokens
    assert listened.heard == "we are open from nine to five"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/chat/completions", {"model": "m"}, 400),
        ("/chat/completions", {"model": "m", "messages": [ASKED], "continue_final_message": True}, 400),
        ("/chat/completions", {"model": "m", "messages": [{**ASKED, "prefix": True}]}, 400),
        ("/chat/completions", {"messages": [ASKED]}, 400),
        ("/chat/completions", {"model": "m", "messages": [ASKED], "stream_options": {}}, 400),
        ("/audio/speech", {"model": "tts", "input": "Hi.", "voice": "alloy"}, 400),
        ("/audio/speech", {"model": "tts", "input": "", "voice": "alloy", "response_format": "pcm"}, 400),
        ("/audio/transcriptions", {"model": "whisper-1"}, 400),
        ("/embeddings", {}, 404),
    ],
)
def test_it_refuses_what_openai_refuses(double: Served, path: str, body: dict[str, Any], status: int) -> None:
    """With an error object."""
    refused = httpx.post(double.url + path, json=body, headers={"Authorization": "Bearer secret"})
    assert refused.status_code == status
    assert refused.json()["error"]["message"]
    assert httpx.post(double.url + "/chat/completions", json={}).status_code == 401


def test_a_server_that_goes_on_with_the_last_message_takes_the_parameters_for_it() -> None:
    """vLLM's, and those of others."""
    with served(Provider(takes_prefix=True)) as double:
        prefix = {"continue_final_message": True, "add_generation_prompt": False}
        asked = {"model": "m", "messages": [ASKED, {"role": "assistant", "content": "Bafa ba"}], **prefix}
        marked = {"model": "m", "messages": [ASKED, {"role": "assistant", "content": "Bafa ba", "prefix": True}]}
        answers = [httpx.post(double.url + "/chat/completions", json=each).json() for each in (asked, marked)]
    for answered in answers:
        assert count("Bafa ba" + answered["choices"][0]["message"]["content"], range(10, 18)).is_exact


def test_it_fails_with_a_status(double: Served, client: openai.OpenAI) -> None:
    """As planned, request by request; nothing is counted of one that was not answered."""
    limited = Fault("status", status=429, retry_after_s=2)
    double.provider.faults.add("chat", limited, None, Fault("status"))
    with pytest.raises(openai.RateLimitError) as refused:
        streamed(client)
    assert refused.value.response.headers["Retry-After"] == "2"
    list(streamed(client))
    with pytest.raises(openai.InternalServerError):
        streamed(client)
    first, second, third = double.provider.log.all
    assert (first.fault, first.usage, first.is_complete) == (limited, {}, False)
    assert second.is_complete
    assert (third.status, third.is_complete) == (500, False)
    assert double.provider.faults.left("chat") == 0


@pytest.mark.parametrize("after_bytes", [0, 1, 700])
def test_a_stream_is_cut_at_a_byte(double: Served, after_bytes: int) -> None:
    """The connection ends there; or the answer does, as if it were whole."""
    asked = {"model": "m", "messages": [ASKED], "stream": True}
    key = {"Authorization": "Bearer secret"}
    double.provider.faults.add("chat", Fault("cut", after_bytes), Fault("short", after_bytes), Fault("cut", 10**6))
    got = b""
    with (
        httpx.stream("POST", double.url + "/chat/completions", json=asked, headers=key) as response,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        for piece in response.iter_raw():
            got += piece
    short = httpx.post(double.url + "/chat/completions", json=asked, headers=key).content
    whole = httpx.post(double.url + "/chat/completions", json=asked, headers=key).content
    assert len(got) == len(short) == after_bytes
    assert whole.endswith(b"data: [DONE]\n\n")
    assert [(each.sent_bytes, each.is_complete) for each in double.provider.log.all] == [
        *[(after_bytes, False)] * 2,
        (len(whole), True),
    ]


async def test_a_request_is_not_answered_in_time(double: Served) -> None:
    """At all, or behind some bytes; the log tells that its client has gone."""
    double.provider.faults.add("speak", Fault("timeout"), Fault("stall", 4800))
    asked = {"model": "tts", "input": TEXT, "voice": "alloy", "response_format": "pcm"}
    headers = {"Authorization": "Bearer secret"}
    async with httpx.AsyncClient(timeout=0.2, headers=headers) as client:
        for _ in range(2):
            with pytest.raises(httpx.ReadTimeout):
                await client.post(double.url + "/audio/speech", json=asked)
    await until(lambda: not double.provider.log.open)
    assert [each.sent_bytes for each in double.provider.log.all] == [0, 4800]
    assert not any(each.is_complete for each in double.provider.log.all)


def test_an_answer_turns_into_garbage(double: Served, client: openai.OpenAI) -> None:
    """Behind some bytes; and one that is late is an answer all the same."""
    double.provider.faults.add(
        "chat", Fault("garbage", 300), Fault("stall", 300, seconds=0.01), Fault("slow", seconds=0.001)
    )
    with pytest.raises((ValueError, openai.APIError)):
        list(streamed(client))
    list(streamed(client))
    list(streamed(client))
    assert [each.is_complete for each in double.provider.log.all] == [False, True, True]


def test_faults_are_planned_and_requests_are_read_from_another_process(double: Served, client: openai.OpenAI) -> None:
    """Over HTTP."""
    control = double.url.removesuffix("/v1") + "/control"
    fault = {"kind": "status", "status": 503}
    assert httpx.post(f"{control}/faults", json={"task": "chat", "faults": [None, fault]}).is_success
    list(streamed(client))
    with pytest.raises(openai.InternalServerError):
        streamed(client)
    requests = httpx.get(f"{control}/requests").json()
    assert [each["status"] for each in requests] == [200, 503]
    assert requests[0]["usage"] == double.provider.log.all[0].usage
    httpx.delete(control)
    assert httpx.get(f"{control}/requests").json() == []


def test_a_provider_that_is_gone_comes_back(double: Served, client: openai.OpenAI) -> None:
    """At the same address, with the same log."""
    list(streamed(client))
    double.stop()
    with pytest.raises(openai.APIConnectionError):
        streamed(client)
    double.start()
    list(streamed(client))
    assert len(double.provider.log.all) == 2


def test_words_of_an_answer_are_heard(client: openai.OpenAI) -> None:
    """From the model through the voice to whoever hears it: none is missing, none comes twice."""
    text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed(client) if chunk.choices)
    with client.audio.speech.with_streaming_response.create(
        model="tts", voice="alloy", input=text, response_format="pcm"
    ) as response:
        audio = b"".join(response.iter_bytes())
    assert count(words_in(audio), range(10, 18)).is_exact
