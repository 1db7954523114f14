"""Call mode of the evaluation, on real pods."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.pods import pods
from tests.eval_speech.beside import echoes
from tests.eval_speech.callers import CALLERS
from tests.eval_speech.calls import CallScore, run
from tests.eval_speech.direct import trials
from tests.eval_speech.requests import IN_GRAMMAR
from tests.servers import free_port, redis_server

CALLER = "flite-slt"


@pytest.mark.slow
@pytest.mark.skipif(bool(CALLERS[CALLER].missing), reason="flite is not installed")
async def test_a_kill_in_the_middle_of_what_is_said_changes_nothing_of_what_comes_of_it(tmp_path: Path) -> None:
    """The same words are understood and the same is answered; every call was on two pods."""
    wanted = [each for each in IN_GRAMMAR if each.id in ("g23", "g27")]
    planned = list(trials([CALLER], ["clean"], wanted))
    plain, cpu_s = await run(planned, "pocketsphinx", tmp_path, kill=False, advance=lambda: None)
    killed, _ = await run(planned, "pocketsphinx", tmp_path, kill=True, advance=lambda: None)
    assert [(it.exchange.heard, it.exchange.answered) for it in killed] == [
        (it.exchange.heard, it.exchange.answered) for it in plain
    ]
    score = CallScore.of(killed, None)
    assert (score.calls, score.failed, score.resumed, score.as_typed) == (2, 0, 2, 1.0)
    assert cpu_s
    assert CallScore.of(plain, cpu_s).resumed == 0


async def test_calls_beside_tell_what_their_frames_took() -> None:
    """Of a pod that is not there they tell why they have nothing."""
    with redis_server() as server:
        async with pods(server.url) as its:
            its.agents = "loopback"
            pod = await its.start("blue")
            found = await echoes(pod.port, 2, 1.0)
    assert found.frames >= 90
    assert found.lost == 0
    assert 0 < found.p50_ms <= found.p99_ms
    with pytest.raises(RuntimeError, match="no echoes: "):
        await echoes(free_port(), 1, 1.0)
