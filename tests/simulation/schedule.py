"""What happens in one run, as data drawn from a seed: so it can be repeated, made smaller, and printed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any, TypeVar

from tests.simulation.caller import ENDINGS, Utterance
from tests.simulation.plain_caller import PLAIN_COMMANDS

T = TypeVar("T")

FAULTS: dict[str, int] = {
    "crash": 6,
    "stop": 3,
    "drain": 4,
    "drain-cancel": 1,
    "cut": 4,
    "move": 2,
    "refused": 2,
    "silent": 2,
    "late": 2,
    "unanswered": 3,
    "slow": 1,
    "outage": 2,
    "locked": 2,
    "full": 2,
    "flush": 1,
    "rollback": 1,
    "evict": 1,
}
"""Kinds of faults and how often each is drawn."""
EDGE_FAULTS: dict[str, int] = {
    "cut": 2,
    "move": 2,
    "unread": 2,
    "edge-stop": 1,
    "edge-drain": 2,
    "crash": 3,
    "cut-at-change": 4,
    "move-at-resume": 2,
}
"""More of them, where callers are behind an edge."""
MOVED_SHARE = 0.4
"""So many schedules with an edge have a pod that gives its calls to another one, by name."""
EDGE_EACH = 3
"""Of so many seeds one has an edge."""
COMMANDS = ("say", "effect", "call", "remind", "aside", "twice", "stop", "speak", "two")
"""What is said to agents other than `echo`."""
BARGED = ("say", "effect", "call", "remind", "two")
"""Into the replies to which callers speak, where turn detection is on."""
BARGING_SHARE = 0.25
"""Of callers of agents other than `echo`, so many do."""
ENDED_SHARE = 0.1
"""Of their calls, so many are ended by the agent."""
KEYS_SHARE = 0.2
"""With so many lines to such agents keys of the telephone are pressed."""
KEYS = "12#"
COMES_BACK = "comes back"
IDS = ("own", "none", "same", COMES_BACK)
"""What plain callers write into `event_id`; and callers who resume by themselves, over whichever edge."""


@dataclass(frozen=True, slots=True)
class Fault:
    """At a time, to somebody. `steps`: a crash waits for so many more turns of its pod."""

    at_s: float
    kind: str
    target: int
    lasts_s: float = 0.0
    steps: int = 0

    def __str__(self) -> str:
        steps = f" after {self.steps} turns" if self.steps else ""
        return f"{self.at_s:7.3f} s  {self.kind} #{self.target}{steps}, lasting {self.lasts_s:.3f} s"


@dataclass(frozen=True, slots=True)
class Schedule:
    """One run. `models` and `lines`: a caller each."""

    seed: int
    pods: int
    models: tuple[str, ...]
    lines: tuple[tuple[Utterance, ...], ...]
    faults: tuple[Fault, ...]
    by_key: frozenset[int] = frozenset()
    """Callers who come back with a call key."""
    is_mixed: bool = False
    """Each pod process is of a release of its own: this one, the one before, or the one after."""
    behind_edge: tuple[str, ...] = ()
    """For each caller, if they are behind an edge: what it writes into `event_id`, one of `IDS`."""
    asks: bool = False
    """Its agents and ears ask a provider."""

    def smaller(self) -> Iterator[Schedule]:
        """Every schedule that has one thing less: a fault, a caller, a line."""
        for at in range(len(self.faults)):
            yield replace(self, faults=_but(self.faults, at))
        for at in range(len(self.models) if len(self.models) > 1 else 0):
            by_key = frozenset(number - (number > at) for number in self.by_key if number != at)
            yield replace(
                self,
                models=_but(self.models, at),
                lines=_but(self.lines, at),
                by_key=by_key,
                behind_edge=_but(self.behind_edge, at),
            )
        for caller, lines in enumerate(self.lines):
            for at in range(len(lines) if len(lines) > 1 else 0):
                shorter = (*self.lines[:caller], _but(lines, at), *self.lines[caller + 1 :])
                yield replace(self, lines=shorter)

    def __str__(self) -> str:
        callers = [
            f"  caller {number} to {model}{' by key' if number in self.by_key else ''}{self._edge(number)}: "
            + ", ".join(map(str, lines))
            for number, (model, lines) in enumerate(zip(self.models, self.lines, strict=True))
        ]
        pods = f"{self.pods} pods{' of mixed releases' if self.is_mixed else ''}{', a provider' if self.asks else ''}"
        return "\n".join([f"seed {self.seed}, {pods}", *callers, *(f"  {fault}" for fault in self.faults)])

    def _edge(self, number: int) -> str:
        return f" over an edge, {self.behind_edge[number]}" if self.behind_edge else ""


def _but(things: tuple[T, ...], at: int) -> tuple[T, ...]:
    return things[:at] + things[at + 1 :]


MIXED_EACH = 4
"""Of so many seeds one has pods of mixed releases."""
ASKS_EACH = 8
"""Of so many seeds one has agents that ask a provider; of one release, as seeds go."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is asked of schedules beside their seed."""

    is_mixed: bool | None = None
    """None: the seed says whether its releases are mixed."""
    edge: float = 1 / EDGE_EACH
    """The share of seeds whose callers are plain ones behind an edge."""
    asks: bool | None = None
    """None: the seed says whether its agents and ears ask a provider."""

    def __str__(self) -> str:
        """As options of the command."""
        mixed = " --mixed" if self.is_mixed else ""
        edge = "" if self.edge == ANY.edge else f" --edge {self.edge:g}"
        return mixed + edge + (" --asks" if self.asks else "")


ANY = Kind()


def draw(seed: int, kind: Kind = ANY) -> Schedule:
    """The schedule of a seed. One without an edge is the same whatever share has one."""
    random = Random(seed)
    models, lines = [], []
    for _ in range(random.choice((1, 1, 2))):
        model = random.choice(("replays", "goes-on", "varies", "echo"))
        models.append(model)
        talks = model == "echo" and random.random() < 0.5
        said = [_line(random, model, talks=talks) for _ in range(random.randint(1, 3))]
        if model != "echo" and random.random() < ENDED_SHARE:
            said[-1] = Utterance(random.choice(("bye", "transfer")), 1)
        lines.append(tuple(said if model == "echo" else _with_acts(random, said)))
    pods = random.choice((2, 2, 3))
    length_s = 1.0 + 1.5 * max(map(len, lines))
    faults = [_fault(random, pods, length_s) for _ in range(random.randint(0, 4))]
    by_key = frozenset(number for number in range(len(models)) if random.random() < 0.2)
    mixed = seed % MIXED_EACH == 0 if kind.is_mixed is None else kind.is_mixed
    asks = seed % ASKS_EACH == 1 if kind.asks is None else kind.asks
    ordered = tuple(sorted(faults, key=_time))
    drawn = Schedule(seed, pods, tuple(models), tuple(lines), ordered, by_key, mixed, asks=asks)
    its_own = Random(seed ^ 0xED6E)
    return _behind_edge(drawn, its_own, length_s) if its_own.random() < kind.edge else drawn


def _behind_edge(drawn: Schedule, random: Random, length_s: float) -> Schedule:
    """Plain callers in the place of those who resume, and what goes wrong with an edge."""
    ids = tuple(random.choice(IDS) for _ in drawn.models)
    lines = tuple(
        tuple(_plain_line(random, line, model, its) for line in said)
        for model, said, its in zip(drawn.models, drawn.lines, ids, strict=True)
    )
    more = [_fault(random, drawn.pods, length_s, EDGE_FAULTS) for _ in range(random.randint(0, 3))]
    faults = tuple(sorted((*drawn.faults, *more), key=_time))
    moves = Random(drawn.seed ^ 0x30BED)
    if moves.random() < MOVED_SHARE:
        kinds = moves.choice((("moved",), ("moved", "move-at-resume")))
        faults = (*faults, *(_fault(moves, drawn.pods, length_s, {kind: 1}) for kind in kinds))
        faults = tuple(sorted(faults, key=_time))
    return replace(drawn, lines=lines, faults=faults, by_key=frozenset(), behind_edge=ids)


def _plain_line(random: Random, line: Utterance, model: str, ids: str) -> Utterance:
    """What is spoken to an echo may be said in more ways; a call over an edge is not ended by its agent."""
    if line.command in ENDINGS:
        return replace(line, command="say")
    if line.command != "speak" or model != "echo" or ids == COMES_BACK:
        return line
    return Utterance(random.choice(("speak", *PLAIN_COMMANDS)), min(line.number, 3))


def _with_acts(random: Random, said: list[Utterance]) -> Iterator[Utterance]:
    """What happens amid what an agent does: the caller speaks into it, and presses keys."""
    barges = random.random() < BARGING_SHARE
    for line in said:
        keys = "".join(random.choices(KEYS, k=random.randint(1, 3))) if random.random() < KEYS_SHARE else ""
        if not barges:
            yield replace(line, keys=keys)
            continue
        command = line.command if line.command in (*BARGED, *ENDINGS) else random.choice(BARGED)
        yield Utterance(command, random.randint(3, 7), barge=random.randint(3, 5), keys=keys)


def _line(random: Random, model: str, *, talks: bool) -> Utterance:
    if talks:
        return Utterance("talk", random.randint(3, 6))
    if model == "echo":
        return Utterance(random.choice(("speak", "speak", "say")), random.randint(2, 6))
    command = random.choice(COMMANDS)
    return Utterance(command, random.randint(5, 9) if command == "stop" else random.randint(1, 4))


def _fault(random: Random, pods: int, length_s: float, kinds: dict[str, int] = FAULTS) -> Fault:
    kind = random.choices(list(kinds), list(kinds.values()))[0]
    at_s = round(random.uniform(0.0, length_s), 4)
    lasts_s = round(random.choice((0.05, 0.5, 3.0, 6.0)) * random.random(), 4)
    return Fault(at_s, kind, random.randrange(pods), lasts_s, random.randint(1, 60) if kind == "crash" else 0)


def _time(fault: Fault) -> Any:
    return fault.at_s
