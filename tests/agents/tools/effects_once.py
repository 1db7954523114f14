"""Calls whose webhook's connections break at any byte while pods die at any moment: what is booked is booked once.

``python -m tests.agents.tools.effects_once`` tries ten thousand; ``--forgets`` does the same with a webhook that
does not honour its key, which must be seen to book twice.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from rich.console import Console
from rich.progress import Progress

from tests.agents.tools.booking import Desk
from tests.agents.tools.cutting import CuttingNetwork, Fault, Tables
from tests.agents.tools.test_signing import SECRET
from voice_agent.agents.tools.webhook import WebhookTool
from voice_agent.agents.tools.webhook_settings import WebhookSettings
from voice_agent.testing.script import Type
from voice_agent.testing.simulate import simulate

URL = "http://tables.test/book"
SAYS = "One moment, please. "
WORST_MOMENTS = 90
"""About as many as a call with three broken connections has."""
WORST_REQUEST_BYTES = 600
WORST_ANSWER_BYTES = 80
"""More than there are."""


@dataclass(frozen=True)
class Trial:
    """What goes wrong in one call."""

    moment: int | None
    """At which its pod is gone; None: at none."""
    hands_off: bool
    """It leaves, as for a release, instead of dying."""
    faults: tuple[Fault, ...]
    verifies: bool

    @classmethod
    def of(cls, seed: int) -> Trial:
        """Up to three connections break at some byte, or are refused."""
        random = Random(seed)
        kinds = (
            lambda: Fault(request_at=random.randrange(WORST_REQUEST_BYTES)),
            lambda: Fault(answer_at=random.randrange(WORST_ANSWER_BYTES)),
            lambda: Fault(is_refused=True),
        )
        faults = tuple(random.choices(kinds, (3, 6, 1))[0]() for _ in range(random.randrange(4)))
        moment = random.randrange(1, WORST_MOMENTS) if random.random() < 0.9 else None
        return cls(moment, random.random() < 0.3, faults, random.random() < 0.5)


@dataclass
class Found:
    """What became of many."""

    runs: int = 0
    seconds: float = 0.0
    effects: Counter[int] = field(default_factory=Counter)
    """How often so many tables were booked in one call."""
    requests: int = 0
    struck: int = 0
    """Pods that were gone in the middle."""
    wrong: list[str] = field(default_factory=list)
    """Calls that went otherwise than they should, by their seeds."""


def run(seed: int, found: Found, *, honours_keys: bool = True) -> None:
    """One call."""
    trial, tables = Trial.of(seed), Tables(honours_keys=honours_keys)
    network = CuttingNetwork(tables, list(trial.faults))
    settings = WebhookSettings.model_validate(
        {"name": "book", "url": URL, "secret": SECRET, "verify_url": URL if trial.verifies else None, "says": SAYS}
    )
    got = simulate(
        lambda: Desk(WebhookTool(settings, network.client())),
        [Type("us")],
        crash_at=None if trial.hands_off else trial.moment,
        hand_off_at=trial.moment if trial.hands_off else None,
    )
    found.struck += trial.moment is not None and got.awaits >= trial.moment
    found.runs += 1
    found.requests += len(network.received)
    found.effects[tables.count] += 1
    words = "".join(reply.text for reply in got.replies).replace(SAYS, "", 1)
    if tables.count != 1 or words != "You have table 1. " or got.errors or got.faults:
        found.wrong.append(f"seed {seed}: {tables.count} tables, {words!r}, {got.errors}, {dict(got.faults)}, {trial}")


@contextmanager
def _dropped_silently() -> Iterator[None]:
    """What a pod that died was in the middle of is dropped at some time by the garbage collector."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        yield
        gc.collect()
    finally:
        sys.unraisablehook = hook


def many(runs: int, first_seed: int = 0, *, honours_keys: bool = True) -> Found:
    """So many calls; shows how it goes where there is a terminal."""
    found, began_s = Found(), time.perf_counter()
    with _dropped_silently(), Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("calls", total=runs)
        for seed in range(first_seed, first_seed + runs):
            run(seed, found, honours_keys=honours_keys)
            progress.update(bar, advance=1, description=f"calls, {len(found.wrong)} wrong")
    found.seconds = time.perf_counter() - began_s
    return found


def main() -> int:
    """As a command; 1 where something was done twice, or not at all."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=10_000)
    options.add_argument("--first-seed", type=int, default=0)
    options.add_argument("--forgets", action="store_true")
    given = options.parse_args()
    found = many(given.runs, given.first_seed, honours_keys=not given.forgets)
    for line in found.wrong[:10]:
        print(line)
    print(
        f"{found.runs} calls, {found.requests} requests, {found.struck} pods gone, in {found.seconds:.0f} s; "
        f"tables booked in a call: {dict(sorted(found.effects.items()))}; wrong: {len(found.wrong)}"
    )
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
