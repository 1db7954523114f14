"""Trials of pipelines, small ones: what `python -m tests.models` does at length."""

from __future__ import annotations

import pytest

from tests.models import latency_trial, usage_trial
from tests.models.fault_trial import FaultTrial
from tests.models.hearing import percentile, silences_s
from voice_agent.call.audio import PCM
from voice_agent.kit.usage import MeteredRequest

HALF_S = PCM.size(500)


def test_silence_is_when_nothing_is_there_to_be_played() -> None:
    """Until the first audio, and each time when what had come was over."""
    assert silences_s(10.0, []) == []
    arrivals = [(10.2, HALF_S), (10.3, HALF_S), (11.5, HALF_S), (11.6, HALF_S)]
    assert silences_s(10.0, arrivals) == pytest.approx([0.2, 0.3])
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile(range(1, 101), 95) == 95


def test_every_request_stands_in_one_record_while_pods_die() -> None:
    """With the provider's own figures, or as unknown; and no word is missing or said twice."""
    verdict = usage_trial.trial(range(1, 9), 3, lambda _: None)
    assert verdict.faults == []
    assert verdict.kills >= 16
    assert verdict.unknown
    assert verdict.requests > 8 * 8


def test_a_figure_that_is_not_the_providers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the test above is none that always passes."""
    told = MeteredRequest.characters
    monkeypatch.setattr(MeteredRequest, "characters", lambda self, count: told(self, count + 1))
    verdict = usage_trial.trial([1], 0, lambda _: None)
    assert any("the record has" in fault for fault in verdict.faults)


@pytest.mark.slow
async def test_callers_hear_all_words_though_providers_fail() -> None:
    """Times are those of `python -m tests.models faults`: they are the machine's."""
    verdict = await FaultTrial(24, 1, lambda _: None).run(2)
    assert verdict.problems == []
    assert sum(verdict.faults.values()) > 16


@pytest.mark.slow
async def test_first_sentences_are_heard_while_they_are_made() -> None:
    """Long before the answer is whole; a figure for it: `python -m tests.models latency`."""
    verdict = await latency_trial.trial(4, 2, lambda _: None)
    assert verdict.turns == 4
    assert verdict.first_audio_p95_s < 2.0
