"""`python -m tests.eval_speech`: strangers talk to the front desk, and how much of it is understood by each ear."""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
from dataclasses import asdict
from pathlib import Path

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.eval_speech import calls, people
from tests.eval_speech.beside import Beside
from tests.eval_speech.callers import CALLERS
from tests.eval_speech.conditions import CONDITIONS
from tests.eval_speech.direct import Result, Trial, run, trials
from tests.eval_speech.hearing import EARS, Hearing
from tests.eval_speech.held_out import SEED, held_out
from tests.eval_speech.report import draw, failures, table, targets_table
from tests.eval_speech.requests import FREE, GERMAN, IN_GRAMMAR, Request
from tests.eval_speech.scores import grouped, judged
from tests.eval_speech.talking import goal
from voice_agent.agents.frontdesk import FrontDesk
from voice_agent.errors import SettingsError
from voice_agent.speech.providers import SpeechProviders
from voice_agent.speech.workers import SpeechWorkers

_COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
_EPILOG = """
callers: %s, and people, who say no requests.
conditions: %s.
example: python -m tests.eval_speech --ear pocketsphinx --caller flite-slt --condition clean --failures -
"""


def main() -> int:
    """Exit status 0 if the first ear reaches all targets that were measured, 1 if not."""
    asked = _arguments()
    console = Console(stderr=True)
    if asked.typed:
        return _show_typed(asked.requests)
    if asked.calls:
        return _call_all(asked, console)
    results: list[Result] = []
    planned = list(trials(asked.caller, asked.condition, asked.requests))
    with Progress(*_COLUMNS, console=console) as progress:
        for name in asked.ear:
            results += asyncio.run(_heard_by(name, planned, asked, progress))
    scores = grouped(results)
    judgements = judged(scores, asked.ear[0])
    if asked.json:
        groups = [
            {"ear": group.ear, "condition": group.condition, "requests": group.kind, "callers": group.callers}
            | score.as_json()
            for group, score in scores.items()
        ]
        targets = [{"target": it.target.name, "limit": it.target.limit, "worst": it.worst, "reached": it.reached}
                   for it in judgements]  # fmt: skip
        sys.stdout.buffer.write(orjson.dumps({"groups": groups, "targets": targets}) + b"\n")
    else:
        Console(width=None if sys.stdout.isatty() else 160).print(table(scores), targets_table(judgements))
    if asked.failures:
        text = "\n".join(failures(results)) + "\n"
        sys.stderr.write(text) if asked.failures == Path("-") else asked.failures.write_text(text)
    if asked.plot:
        draw(scores, asked.plot)
    return int(not all(judgement.reached for judgement in judgements))


def _call_all(asked: argparse.Namespace, console: Console) -> int:
    """Call mode; exit status 1 if a call has failed."""
    planned = list(trials(asked.caller, asked.condition, [each for each in asked.requests if not each.given]))
    planned = [trial for trial in planned if trial.caller != people.CALLER]
    beside = Beside(asked.beside) if asked.beside else None
    with Progress(*_COLUMNS, console=console) as progress:
        task = progress.add_task("calls", total=len(planned))
        called, cpu_s = asyncio.run(
            calls.run(
                planned,
                asked.ear[0],
                asked.cache,
                kill=asked.kill,
                together=asked.together,
                beside=beside,
                advance=lambda: progress.advance(task),
            )
        )
    score = asdict(calls.CallScore.of(called, cpu_s)) | ({"beside": asdict(beside)} if beside else {})
    if asked.json:
        each = [
            {"caller": it.trial.caller, "condition": it.trial.condition, "request": it.trial.request.id,
             "heard": it.exchange.heard, "answered": it.exchange.answered, "latency_s": it.exchange.latency_s,
             "as_typed": it.as_typed, "acted_wrongly": it.acted_wrongly, "resumes": it.resumes, "failure": it.failure}
            for it in called
        ]  # fmt: skip
        sys.stdout.buffer.write(orjson.dumps({"score": score, "calls": each}) + b"\n")
    else:
        Console().print(score)
    return int(score["failed"] > 0)


async def _heard_by(name: str, planned: list[Trial], asked: argparse.Namespace, progress: Progress) -> list[Result]:
    providers = SpeechProviders(SpeechWorkers(1))
    try:
        ear = providers.ear_for(FrontDesk(), (name,))
    except SettingsError as error:
        progress.console.print(f"{name} is left out: {error}")
        return []
    task = progress.add_task(name, total=len(planned))
    await providers.open()
    try:
        await providers.ready()
        return await run(Hearing(name, ear, asked.cache, asked.minutes), planned, lambda: progress.advance(task))
    finally:
        await providers.close()


def _show_typed(requests: list[Request]) -> int:
    """What each request leads to when it is typed."""
    missed = 0
    for request in requests:
        wanted = goal(request)
        right = wanted.answers(request)
        missed += not right
        answers = " // ".join(reply.text for reply in wanted.replies)
        print(f"{request.id} {'' if right else 'WRONG '}{request.text} -> {answers}")
    return int(missed > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.eval_speech",
        description="Callers who are not the product's voice talk to the front desk: how much of it is understood?",
        epilog=_EPILOG % (", ".join(CALLERS), "; ".join(f"{name}: {what}" for name, what in CONDITIONS.items())),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--ear", action="append", choices=EARS, help="which; all that are installed if none is named")
    parser.add_argument("--caller", action="append", choices=[*CALLERS, people.CALLER], help="which; all if none")
    parser.add_argument("--condition", action="append", choices=list(CONDITIONS), help="which; all if none is named")
    parser.add_argument("--only", metavar="IDS", help="requests whose ids begin with one of these, as g,f01")
    parser.add_argument(
        "--held-out", type=int, default=0, metavar="N", help="N generated requests in place of the lists"
    )
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the generated requests (default {SEED})")
    parser.add_argument("--calls", action="store_true",
                        help="over a WebSocket to a real pod, four at once; without requests in mid-talk")  # fmt: skip
    parser.add_argument("--together", action="store_true", help="with --calls: those at once begin at one moment")
    parser.add_argument("--kill", action="store_true", help="with --calls: kill the pod in the middle of what is said")
    beside = "with --calls: how long frames of N calls without speech take there, and alone"
    parser.add_argument("--beside", type=int, default=0, metavar="N", help=beside)
    parser.add_argument("--minutes", type=float, default=math.inf,
                        help="for each ear, then report on a fair sample; 0: on what is kept")  # fmt: skip
    parser.add_argument("--typed", action="store_true", help="type the requests, German ones too, and show the answers")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/voice-agent/eval").expanduser(), metavar="DIR",
                        help="where recordings and results are kept (default ~/.cache/voice-agent/eval)")  # fmt: skip
    parser.add_argument("--failures", type=Path, metavar="FILE", help="write what failed, turn by turn; - for stderr")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the scores, as SVG")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    asked = parser.parse_args()
    asked.ear = asked.ear or list(EARS)
    asked.condition = asked.condition or list(CONDITIONS)
    asked.caller = asked.caller or [*CALLERS, people.CALLER]
    if asked.beside and asked.kill:
        parser.error("--beside and --kill: the calls beside would be on the pod that dies")
    for caller in asked.caller:
        if caller in CALLERS and (missing := CALLERS[caller].missing):
            parser.error(f"the caller {caller} needs {missing}; without it: name others with --caller")
    asked.requests = held_out(asked.seed, asked.held_out) if asked.held_out else [*IN_GRAMMAR, *FREE, *people.prompts()]
    if asked.typed:
        asked.requests = [each for each in [*asked.requests, *GERMAN] if each.kind != people.CALLER]
    if asked.only:
        asked.requests = [each for each in asked.requests if each.id.startswith(tuple(asked.only.split(",")))]
    return asked


if __name__ == "__main__":
    sys.exit(main())
