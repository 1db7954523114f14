"""What is said is said once: after each write of a call its pod is gone, and the next one goes on."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.runtime.alone import Alone
from tests.runtime.engine.agents import MS_A_CHAR, Acting, SpellingVoice, spelled
from tests.runtime.engine.crashes import Got, again, whole
from voice_agent.call.audio import PCM
from voice_agent.call.inputs import CreateResponse
from voice_agent.kit.call import Call
from voice_agent.kit.events import Asked, Event

SENTENCES = ("Hello there. ", "We are open from nine. ", "Come by.")
TEXT = "".join(SENTENCES)


async def ask(its: Alone) -> None:
    """The client asks for a reply, if it has not asked yet."""
    if its.call.response is None and not its.call.ids.responses_made:
        its.live.feed(CreateResponse({}))


async def say(call: Call, event: Event) -> None:
    """Answers with three sentences."""
    if isinstance(event, Asked):
        async with call.speak() as speech:
            for sentence in SENTENCES:
                await speech.text(sentence)


def in_order(got: Got) -> None:
    """Every number once, and each event of a response that there is one of."""
    assert got.numbers == list(range(1, len(got.numbers) + 1))
    for once in ("response.created", "response.done", "response.output_item.added", "response.output_audio.done"):
        assert got.types.count(once) == 1, once


async def test_a_reply_goes_on_at_the_next_sample_after_each_of_its_writes() -> None:
    """With a voice that makes the same bytes again: text and audio are those of a call without a crash."""
    tape = await whole(Acting(say), ask)
    assert (tape.got.text, tape.got.audio) == (TEXT, b"".join(map(spelled, SENTENCES)))
    in_order(tape.got)
    assert len(tape.snapshots) > 25
    for snapshot in tape.snapshots:
        got = await again(Acting(say), snapshot, ask)
        assert got.text == TEXT
        assert got.audio == tape.got.audio
        in_order(got)


class OtherVoice(SpellingVoice):
    """Is never the same twice."""

    deterministic = False


@pytest.mark.parametrize("deterministic", [True, False])
async def test_another_voice_goes_on_with_a_word(deterministic: bool) -> None:
    """It says all of the word that was cut off, and nothing before it; whether it is known to differ or not."""
    tape = await whole(Acting(say), ask)
    for snapshot in tape.snapshots:
        voice = OtherVoice(variant=7)
        voice.deterministic = deterministic
        got = await again(Acting(say, voice), snapshot, ask)
        assert got.text == TEXT
        in_order(got)
        heard = spoken(got.audio)
        assert said_with_breaks(heard), heard


def spoken(audio: bytes, variants: Sequence[int] = (0, 7)) -> list[tuple[int, str]]:
    """What was said by which of the voices, character by character; of one that was cut off, the part."""
    known = {spelled(char, variant=variant)[:2]: (variant, char) for char in TEXT for variant in variants}
    found: list[tuple[int, str]] = []
    at = 0
    while at < len(audio):
        sample = audio[at : at + 2]
        end = at
        while end < len(audio) and audio[end : end + 2] == sample and end - at < PCM.size(MS_A_CHAR):
            end += 2
        found.append(known[sample])
        at = end
    return found


def said_with_breaks(heard: list[tuple[int, str]]) -> bool:
    """The first voice said a beginning of the text, and the second the rest, from the beginning of a word."""
    first = [char for variant, char in heard if variant == 0]
    second = "".join(char for variant, char in heard if variant == 7)
    assert [variant for variant, _ in heard] == [0] * len(first) + [7] * len(second)
    begun, back_to = "".join(first), len(TEXT) - len(second)
    is_word = back_to in (0, len(TEXT)) or TEXT[back_to - 1] == " "
    return TEXT.startswith(begun) and TEXT.endswith(second) and back_to <= len(begun) and is_word


class Clips:
    """Says audio of its own, one clip for each sentence."""

    def __init__(self, *, variant: int = 0) -> None:
        self.variant = variant

    async def __call__(self, call: Call, event: Event) -> None:
        if isinstance(event, Asked):
            async with call.speak() as speech:
                for sentence in SENTENCES:
                    await speech.audio(spelled(sentence, variant=self.variant), PCM, text=sentence)


async def test_an_agents_own_audio_goes_on_at_the_next_sample() -> None:
    """It gives all of it again, and what was sent is passed over."""
    tape = await whole(Acting(Clips()), ask)
    for snapshot in tape.snapshots:
        got = await again(Acting(Clips()), snapshot, ask)
        assert (got.text, got.audio) == (TEXT, tape.got.audio)
        in_order(got)


async def test_an_agents_own_audio_that_differs_goes_on_with_a_word() -> None:
    """As of a voice."""
    tape = await whole(Acting(Clips()), ask)
    for snapshot in tape.snapshots:
        got = await again(Acting(Clips(variant=7)), snapshot, ask)
        assert got.text == TEXT
        assert said_with_breaks(spoken(got.audio))


async def test_audio_without_a_text_goes_on_at_the_next_sample() -> None:
    """An echo."""
    clip = b"".join(number.to_bytes(2, "little") for number in range(PCM.size(900) // 2))

    async def echo(call: Call, event: Event) -> None:
        if isinstance(event, Asked):
            async with call.speak() as speech:
                await speech.audio(clip, PCM)

    tape = await whole(Acting(echo), ask)
    assert tape.got.audio == clip
    for snapshot in tape.snapshots:
        got = await again(Acting(echo), snapshot, ask)
        assert (got.text, got.audio) == ("", clip)
        in_order(got)


async def test_other_text_goes_on_with_its_next_sentence() -> None:
    """What was begun is said to its end in the words that are durable; nothing is said twice, nothing is left out."""
    others = ("Good day. ", "It is open at nine o'clock. ", "Do come by.")

    async def say_other(call: Call, event: Event) -> None:
        if isinstance(event, Asked):
            async with call.speak() as speech:
                for sentence in others:
                    await speech.text(sentence)

    tape = await whole(Acting(say), ask)
    for snapshot in tape.snapshots:
        got = await again(Acting(say_other), snapshot, ask)
        cuts = {"".join(SENTENCES[:n]) + "".join(others[n:]) for n in range(4)}
        assert got.text in cuts
        assert got.audio == spelled(got.text)
        in_order(got)


async def test_an_agent_that_continues_says_the_rest() -> None:
    """It sees what is durable, and gives only what is not."""
    seen: list[int] = []

    async def go_on(call: Call, event: Event) -> None:
        if isinstance(event, Asked):
            async with call.speak() as speech:
                seen.append(len(speech.said))
                speech.continues()
                for sentence in SENTENCES[len(speech.said) :]:
                    await speech.text(sentence)

    tape = await whole(Acting(go_on), ask)
    for snapshot in tape.snapshots:
        got = await again(Acting(go_on), snapshot, ask)
        assert (got.text, got.audio) == (TEXT, tape.got.audio)
    assert set(seen) == {0, 1, 2, 3}


async def test_two_speeches_and_what_is_done_between_them_are_done_once() -> None:
    """Each is an item of its own."""
    done: list[str] = []

    async def note(key: str) -> str:
        done.append(key)
        return f"noted {len(set(done))}"

    async def act(call: Call, event: Event) -> None:
        if isinstance(event, Asked):
            async with call.speak("first") as speech:
                await speech.text(SENTENCES[0])
            result = await call.once("note", note)
            await call.call_tool("tool", "look", {"at": result})
            async with call.speak("second") as speech:
                await speech.text(result)

    tape = await whole(Acting(act), ask)
    assert tape.got.text == SENTENCES[0] + "noted 1"
    for snapshot in tape.snapshots:
        got = await again(Acting(act), snapshot, ask)
        assert (got.text, got.audio) == (tape.got.text, tape.got.audio)
        assert got.types.count("response.function_call_arguments.done") == 1
        assert got.types.count("response.output_item.added") == 3
        assert got.types.count("response.done") == 1
    assert len(set(done)) == 1, "the same idempotency key on every pod"
