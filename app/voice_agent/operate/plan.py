"""What a cutover does next: two tables and the record of how far it is. Pure.

Every step may be done again: whoever dies in one is followed by a run that starts with the
same step. The record is saved before a step begins, so what was begun is always known::

    prepare > preflight > smoke > shift > hold > alone > drain > watch > finish > done
                            |  ^________|    |     |       |       |
                            |   next weight  |     |       |       |
                            '--------'-------'-----'-------'-------'--> on a failure:
                                        reopen > return > hand_back > watch_back > rest > rolled_back

    prepare and preflight that fail end with refused, smoke with rolled_back: nobody was moved.

*reopen*: the old color takes calls again. *return*: it alone gets them. *hand_back*: the new
color drains, so that its calls move back. *rest*: the new color's drain is taken back and the
routing is what it was before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import Any

from voice_agent.operate import losses
from voice_agent.operate.losses import Counts
from voice_agent.operate.ports import FULL, Routing

SECOND_MS = 1000


class Step(StrEnum):
    """Where a cutover is."""

    PREPARE = "prepare"
    """The new color's drain, if one is requested, is taken back."""
    PREFLIGHT = "preflight"
    SMOKE = "smoke"
    SHIFT = "shift"
    """The next weight is set; callers pinned to the old color still reach it."""
    HOLD = "hold"
    """The new color is watched under that weight."""
    EXCLUSIVE = "alone"
    """The new color alone is in the rule: from now on cookies pin nobody to the old one."""
    DRAIN = "drain"
    WATCH = "watch"
    FINISH = "finish"
    """The old color stands by without callers, or is retired."""
    DONE = "done"
    REOPEN = "reopen"
    RETURN = "return"
    HAND_BACK = "hand_back"
    WATCH_BACK = "watch_back"
    RESTORE = "rest"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"
    """Something spoke against it before anybody was called or moved."""


NEXT = {
    Step.PREPARE: Step.PREFLIGHT,
    Step.PREFLIGHT: Step.SMOKE,
    Step.SMOKE: Step.SHIFT,
    Step.SHIFT: Step.HOLD,
    Step.HOLD: Step.EXCLUSIVE,
    Step.EXCLUSIVE: Step.DRAIN,
    Step.DRAIN: Step.WATCH,
    Step.WATCH: Step.FINISH,
    Step.FINISH: Step.DONE,
    Step.REOPEN: Step.RETURN,
    Step.RETURN: Step.HAND_BACK,
    Step.HAND_BACK: Step.WATCH_BACK,
    Step.WATCH_BACK: Step.RESTORE,
    Step.RESTORE: Step.ROLLED_BACK,
}
"""What follows a step that succeeded. After a hold with weights left, `SHIFT` follows instead."""

SETS_ROUTER = frozenset({Step.SHIFT, Step.EXCLUSIVE, Step.RETURN, Step.RESTORE})

ROLLS_BACK_TO = {
    Step.PREPARE: Step.REFUSED,
    Step.PREFLIGHT: Step.REFUSED,
    Step.SMOKE: Step.ROLLED_BACK,
    Step.SHIFT: Step.REOPEN,
    Step.HOLD: Step.REOPEN,
    Step.EXCLUSIVE: Step.REOPEN,
    Step.DRAIN: Step.REOPEN,
    Step.WATCH: Step.REOPEN,
}
"""What follows a step that failed. Before the first shift nobody has been moved, and there is nothing to undo."""

FINAL = frozenset({Step.DONE, Step.ROLLED_BACK, Step.REFUSED})


class Exit(IntEnum):
    """Exit status of the command."""

    NO_CALLER_LOST = 0
    ROLLED_BACK = 1
    """Or stopped before its end: the last line says where callers are."""
    REFUSED = 2
    """Nobody was moved."""
    CALLERS_LOST = 3
    """It was done, and callers were lost."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a cutover is to be done. Seconds, unless the name says otherwise."""

    percents: tuple[int, ...] = (FULL,)
    """Weights of the new color, one after the other; the last is 100."""
    hold_s: float = 10.0
    """How long the new color is watched under each weight."""
    buffer_s: float = 300.0
    """How long the old color must have had no call at all before it counts as empty."""
    drain_deadline_s: int = 600
    """What is left on the old color then is checkpointed and told to come back."""
    watch_deadline_s: float = 1200.0
    """How long to wait for an empty old color, from the drain on."""
    delete: bool = False
    """Retire the old color at the end."""
    force: bool = False
    """The old color is ill or dead: what is wrong with it, or not to be seen of it, does not stop the cutover."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for weights that do not grow to 100, or a wait that cannot end."""
        growing = all(a < b for a, b in zip(self.percents, self.percents[1:], strict=False))
        if not self.percents or not growing or self.percents[0] < 1 or self.percents[-1] != FULL:
            raise ValueError("weights must grow and end with 100, such as 5,25,100")
        if self.watch_deadline_s <= self.buffer_s:
            raise ValueError(
                f"the wait for an empty color ({self.watch_deadline_s:g} s) "
                f"must be longer than it has to have been empty ({self.buffer_s:g} s)"
            )


@dataclass(frozen=True, slots=True)
class DrainTimes:
    """When the old color was left; None: not yet."""

    shifted_at_ms: int | None = None
    """When the first callers were sent to the new color."""
    drained_at_ms: int | None = None
    """When the old color was found empty; the buffer is not counted."""

    @property
    def seconds(self) -> float | None:
        """From the one to the other."""
        if self.shifted_at_ms is None or self.drained_at_ms is None:
            return None
        return max(0, self.drained_at_ms - self.shifted_at_ms) / SECOND_MS


@dataclass(frozen=True, slots=True)
class CutoverProgress:
    """How far a cutover is: all that a second run needs to go on."""

    cutover_id: str
    old: str
    """The color that served when it began."""
    new: str
    router: str
    """The router's name: a second run must mean the same one."""
    before: Routing
    options: Options
    started_at_ms: int
    step: Step = Step.PREPARE
    step_at_ms: int = 0
    """When the step was begun for the first time."""
    stage: int = 0
    """Which of the weights is set, or about to be."""
    drain: DrainTimes = DrainTimes()
    reason: str = ""
    """Why it is rolled back."""
    rollback_asked: bool = False
    """The command at work is to undo it: having done that, it has done all."""
    remarks: tuple[str, ...] = ()
    """What else the operator should know at the end."""
    counts: Counts = field(default_factory=dict)
    """What each pod has lost."""

    @property
    def is_over(self) -> bool:
        """Nothing is left to do."""
        return self.step in FINAL

    @property
    def is_rolling_back(self) -> bool:
        """Something went wrong."""
        return bool(self.reason)

    @property
    def routing(self) -> Routing:
        """What this step wants of the router; steps that do not touch it want what is there."""
        if self.step in (Step.PREPARE, Step.PREFLIGHT, Step.SMOKE, Step.RESTORE, Step.ROLLED_BACK, Step.REFUSED):
            return self.original
        if self.step in (Step.SHIFT, Step.HOLD):
            return Routing.split(self.new, self.options.percents[self.stage], self.old)
        return Routing.alone(self.old if self.is_rolling_back else self.new)

    @property
    def original(self) -> Routing:
        """What a rollback ends with: as it was, if the old color served alone then."""
        sound = self.before.gets_all(self.old) and not self.before.differing
        return self.before if sound else Routing.alone(self.old)

    @property
    def lost(self) -> int:
        """How many callers are known to be lost."""
        return losses.number_lost(self.counts)

    @property
    def why_lost(self) -> tuple[str, ...]:
        """What became of them, a clause each."""
        return losses.why_lost(self.counts)

    @property
    def exit(self) -> Exit:
        """How the command ends, once it is over."""
        if self.step is Step.DONE or (self.step is Step.ROLLED_BACK and self.rollback_asked):
            return Exit.CALLERS_LOST if self.lost else Exit.NO_CALLER_LOST
        return Exit.REFUSED if self.step is Step.REFUSED else Exit.ROLLED_BACK

    @property
    def position(self) -> str:
        """Where callers are, in words; during a step that sets the router: where they are about to be sent."""
        told = f"callers are sent to {self.routing}"
        if self.step in SETS_ROUTER:
            told = f"the router was about to be set to {self.routing}"
        return f"{told}; calls under way go on where they are"


def advanced(progress: CutoverProgress, now_ms: int) -> CutoverProgress:
    """The record after its step succeeded."""
    step = NEXT[progress.step]
    stage = progress.stage
    if progress.step is Step.HOLD and stage + 1 < len(progress.options.percents):
        step, stage = Step.SHIFT, stage + 1
    drain = progress.drain
    if progress.step is Step.SHIFT and drain.shifted_at_ms is None:
        drain = replace(drain, shifted_at_ms=now_ms)
    return replace(progress, step=step, stage=stage, step_at_ms=now_ms, drain=drain)


def rolled_back(progress: CutoverProgress, reason: str, now_ms: int) -> CutoverProgress:
    """The record after its step failed. Raises `KeyError` for a step that is not followed by a rollback."""
    return replace(progress, step=ROLLS_BACK_TO[progress.step], step_at_ms=now_ms, reason=reason)


def rolled_back_on_request(progress: CutoverProgress, reason: str, now_ms: int) -> CutoverProgress:
    """As `rolled_back`, when somebody asked for it: then nothing was refused."""
    back = rolled_back(progress, reason, now_ms)
    return replace(back, step=Step.ROLLED_BACK) if back.step is Step.REFUSED else back


def as_json(progress: CutoverProgress) -> dict[str, Any]:
    """For the journal."""
    options = progress.options
    return {
        "cutover_id": progress.cutover_id,
        "old": progress.old,
        "new": progress.new,
        "router": progress.router,
        "before": dict(progress.before.weights),
        "differing": list(progress.before.differing),
        "terms": {name: getattr(options, name) for name in Options.__dataclass_fields__},
        "started_at_ms": progress.started_at_ms,
        "step": progress.step.value,
        "step_at_ms": progress.step_at_ms,
        "stage": progress.stage,
        "shifted_at_ms": progress.drain.shifted_at_ms,
        "drained_at_ms": progress.drain.drained_at_ms,
        "reason": progress.reason,
        "rollback_asked": progress.rollback_asked,
        "remarks": list(progress.remarks),
        "counts": losses.as_json(progress.counts),
        "lost": progress.lost,
        "why_lost": list(progress.why_lost),
    }


def from_json(said: Mapping[str, Any]) -> CutoverProgress:
    """The record from the journal. Raises `KeyError`, `TypeError` or `ValueError` for what is none."""
    options = {name: value for name, value in said["terms"].items() if name in Options.__dataclass_fields__}
    return CutoverProgress(
        cutover_id=said["cutover_id"],
        old=said["old"],
        new=said["new"],
        router=said["router"],
        before=Routing(said["before"], tuple(said["differing"])),
        options=Options(**{**options, "percents": tuple(options["percents"])}),
        started_at_ms=said["started_at_ms"],
        step=Step(said["step"]),
        step_at_ms=said["step_at_ms"],
        stage=said["stage"],
        drain=DrainTimes(said["shifted_at_ms"], said["drained_at_ms"]),
        reason=said["reason"],
        rollback_asked=said.get("rollback_asked", False),
        remarks=tuple(said["remarks"]),
        counts=losses.from_json(said.get("counts", {})),
    )
