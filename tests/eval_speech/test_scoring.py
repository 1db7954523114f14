"""What the evaluation of speech counts, without any engine."""

from __future__ import annotations

import numpy as np
import pytest

from tests.eval_speech.callers import RATE_HZ
from tests.eval_speech.conditions import SNR_DB, at_snr
from tests.eval_speech.grammar import frontdesk
from tests.eval_speech.held_out import held_out
from tests.eval_speech.requests import FREE, IN_GRAMMAR, Request
from tests.eval_speech.talking import Outcome, Said, goal, talk
from tests.eval_speech.words import errors, words
from voice_agent.kit.ear import Transcript

HOURS = Request("x", "what are your opening hours on saturday?", "free", wants="saturday ten")


async def talked(*understood: str | None, request: Request = HOURS) -> tuple[Outcome, list[Said]]:
    """A talk in which the ear understands these, turn by turn, and what the caller said."""
    said: list[Said] = []
    left = list(understood)

    async def hear(each: Said) -> Transcript:
        said.append(each)
        return Transcript(left.pop(0))

    return await talk(request, hear), said


async def test_what_is_understood_as_typed_is_a_success() -> None:
    """Other words that mean the same are as good."""
    outcome, said = await talked("Are you open on Saturday?")
    assert (outcome.success, outcome.asked_back, said) == (True, 0, [Said(HOURS.text)])


async def test_what_is_not_understood_is_said_once_more_and_more_slowly() -> None:
    """A success after one question back; a second one fails, and is no wrong act."""
    outcome, said = await talked(None, HOURS.text)
    assert (outcome.success, outcome.asked_back) == (True, 1)
    assert said[1] == Said(HOURS.text, slowly=True)
    outcome, _ = await talked(None, None)
    assert (outcome.success, outcome.acted_wrongly, outcome.asked_back) == (False, False, 2)


async def test_a_yes_that_is_not_understood_is_said_once_more_as_the_desk_asks_for_it() -> None:
    """In more words. Where it was not heard at all, more slowly, as any other turn."""
    request = Request("x", "cancel my appointment", "free", ("book an appointment on tuesday at three", "yes"))
    for heard, again in ((None, Said("yes, please", yes_or_no=True)), ("", Said("yes", slowly=True, yes_or_no=True))):
        outcome, said = await talked(request.text, heard, "yes", request=request)
        assert (outcome.success, outcome.asked_back) == (True, 1)
        assert said[1:] == [Said("yes", yes_or_no=True), again]


async def test_of_two_wishes_one_may_be_told_and_the_other_asked_for() -> None:
    """Which is a question back; what neither of them leads to is wrong."""
    request = Request("x", "where is order four seven one one, and when are you open on saturday?", "free")
    half = "where is order four seven one, and when are you open on saturday"
    outcome, said = await talked(half, request.text, request=request)
    assert (outcome.success, outcome.asked_back, said[1]) == (True, 1, Said(request.text, slowly=True))
    outcome, _ = await talked(half.replace("saturday", "monday"), request=request)
    assert outcome.acted_wrongly


async def test_an_answer_to_something_else_is_an_act_that_is_wrong() -> None:
    """Hours of another day, the status of another order, a farewell."""
    for other in ("what are your opening hours on monday", "order four seven one one", "goodbye"):
        outcome, _ = await talked(other)
        assert (outcome.success, outcome.acted_wrongly) == (False, True), other


async def test_a_request_that_the_desk_does_not_understand_typed_is_no_success() -> None:
    """That the spoken one is not understood either is no merit."""
    request = Request("x", "sing me a song", "free", wants="song")
    assert not (await talked(request.text, request=request))[0].success


def test_word_errors_do_not_depend_on_how_something_is_written() -> None:
    """Figures, "oh", punctuation; of two words that differ each counts."""
    assert words("Order 4-7-1-1, at 11:30 a.m. on the 22nd.") == words(
        "order four seven one one at eleven thirty a m on the twenty second"
    )
    assert words("five oh two") == words("502")
    assert errors(words("make it four"), words("make it for")) == 1
    assert errors(words("yes please"), []) == 2


def test_each_request_is_in_the_grammar_or_is_not_as_its_list_says() -> None:
    """And no two requests have one id."""
    grammar = frontdesk()
    assert [it.id for it in IN_GRAMMAR if not grammar.matches(it.text)] == []
    assert [it.id for it in FREE if grammar.matches(it.text)] == []
    ids = [it.id for it in (*IN_GRAMMAR, *FREE)]
    assert len(ids) == len(set(ids))


def test_requests_in_the_grammar_are_answered_as_they_want_when_they_are_typed() -> None:
    """Else their scores would say nothing of ears."""
    assert [it.id for it in IN_GRAMMAR if not goal(it).answers(it)] == []


def test_held_out_requests_are_the_same_for_the_same_seed_only() -> None:
    """As many as asked for, half of them in the grammar, no two the same, nothing left to be filled in."""
    first = held_out(1, 20)
    assert first == held_out(1, 20) != held_out(2, 20)
    assert len({it.text for it in first}) == 20
    assert sum(frontdesk().matches(it.text) for it in first) >= 10
    assert not [it.text for it in first if "{" in it.text]


@pytest.mark.parametrize("loudness", [0.01, 0.1])
def test_noise_is_as_far_below_the_speech_as_it_says(loudness: float) -> None:
    """Measured against what is voiced, whatever the silence around it."""
    speech = np.concatenate([np.zeros(RATE_HZ), loudness * np.sin(np.arange(RATE_HZ) * 0.1), np.zeros(RATE_HZ)])
    noise = at_snr(speech, np.random.default_rng(0).normal(0, 1, len(speech)))
    voiced = speech[RATE_HZ : 2 * RATE_HZ]
    assert 10 * np.log10(np.mean(voiced**2) / np.mean(noise**2)) == pytest.approx(SNR_DB, abs=1.0)
