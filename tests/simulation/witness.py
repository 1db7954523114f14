"""Sees everything, remembers everything, and says when a promise is broken.

It stands where no real part of the system can: it knows what the store holds at each
moment, what every caller was ever sent, and what a caller really said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from voice_agent.call.changes import CallWrite, OutboxEntry
from voice_agent.call.completeness import Kept
from voice_agent.stores.base import WriteOutcome


class Broken(AssertionError):
    """A promise of the contract was broken."""


@dataclass(slots=True)
class Known:
    """What the witness knows of one call."""

    texts: dict[int, str] = field(default_factory=dict)
    """Every durable event as it was first sent."""
    heard_n: int = 0
    """Newest event that its caller has got."""
    durable_n: int = 0
    """Newest event that the store holds now."""
    ever_durable_n: int = 0
    was_lost: bool = False
    """The store lost some of it at some time."""
    is_missing: bool = True
    """The store has nothing of it: not yet, or not any more."""
    excused_n: int = 0
    """Newest event that was let out while the store was given up."""
    epoch: int = 0
    forgotten: bool = False
    """The store lost what nobody else had: from now on less is promised (design 3.6)."""
    was_evicted: bool = False
    """Some of what the store held of it vanished alone."""
    outsiders: set[str] = field(default_factory=set)
    """Pods that have been told that the call is another's."""
    handed_off_ms: int = 0
    """Audio that a pod had taken when it closed for a handoff."""
    release: str = ""
    """Of the pod that claimed it last."""
    is_behind_edge: bool = False
    untold_keys: set[tuple[int, int]] = field(default_factory=set)
    """Keys of the telephone that the store has or had, and of which the caller was not told yet: number and time."""
    given_keys: set[tuple[int, int]] = field(default_factory=set)
    """Those of which an agent was told."""
    told_keys: set[tuple[int, int]] = field(default_factory=set)
    """And the caller."""
    results: set[str] = field(default_factory=set)
    """Side effects whose result the store has."""
    lost_what_it_had: bool = False
    """The store lost some of it, and no pod has written all again. An edge keeps nothing that a store once had."""


class Witness:
    """One for a whole run."""

    def __init__(self) -> None:
        self.calls: dict[str, Known] = {}
        self.keys: dict[str, str] = {}
        """Call keys in use, and their calls."""
        self.trace: list[str] = []
        self.counts: Counter[str] = Counter()
        self.effects: dict[str, dict[str, int]] = {}
        """For each reply the keys under which its side effect was done, and how often."""
        self.owners: list[object] = []
        """Calls in the memory of a pod whose agent was given an event."""
        self.states: dict[tuple[str, int, int], int] = {}
        """By call, number and time of an event: what the agent found when it was given it last."""
        self.verdict = ""
        """The first promise that was broken."""
        self.now_s: Callable[[], float] = float
        self.usage_written: Callable[[str, bytes], None] = lambda call_id, packed: None
        """Told what a record says of requests to providers, whenever it is written."""

    def note(self, line: str) -> None:
        """A line of the trace."""
        self.trace.append(f"{self.now_s():9.4f}  {line}")

    def broken(self, promise: str) -> None:
        """Stop the run: a promise was broken."""
        self.note(f"BROKEN: {promise}")
        self.verdict = self.verdict or promise
        raise Broken(promise)

    def known(self, call_id: str) -> Known:
        """What is known of a call."""
        return self.calls.setdefault(call_id, Known())

    # --- the store's side -----------------------------------------------------

    def written(self, pod: str, write: CallWrite, outcome: WriteOutcome, held: list[OutboxEntry]) -> None:
        """A write was carried out; `held` is the newest of what the store's outbox now holds of the call."""
        if write.events or write.whole or outcome is not WriteOutcome.COMMITTED:
            numbers = f"{write.events[0].n}-{write.events[-1].n}" if write.events else "-"
            kind = f"{write.call_id[5:9]} {'whole ' if write.whole else ''}write {write.revision}"
            self.note(f"{pod}: {kind} epoch {write.epoch} events {numbers}: {outcome.value}")
        known = self.known(write.call_id)
        if outcome is not WriteOutcome.COMMITTED:
            self.counts[outcome.value] += 1
            if outcome is WriteOutcome.SUPERSEDED:
                known.outsiders.add(pod)
                if known.excused_n > known.ever_durable_n:
                    # What it let out while the store was away, another owner does not know.
                    self.taken_from_store(write.call_id)
            return
        if write.epoch < known.epoch and not write.doubted:
            self.broken(f"one owner: {pod} wrote with epoch {write.epoch} after {known.epoch} had been given out")
        known.epoch = max(known.epoch, write.epoch)
        known.is_missing = False
        known.lost_what_it_had = known.lost_what_it_had and not write.whole
        known.durable_n = int(write.fields.get("seq", known.durable_n))  # What was acknowledged is in no outbox.
        known.ever_durable_n = max(known.ever_durable_n, known.durable_n)
        if not known.forgotten and any(b.n != a.n + 1 for a, b in pairwise(held)):
            self.broken(f"exactly once: the outbox has a hole: {[entry.n for entry in held]}")

    def claimed(self, pod: str, call_id: str, epoch: int, *, remembered: int | None) -> None:
        """A claim was granted; `remembered`: the epoch under which its pod has the call in memory, if it has."""
        self.note(f"{pod}: {call_id[5:9]} claimed under epoch {epoch}")
        known = self.known(call_id)
        known.outsiders.discard(pod)
        if remembered != epoch - 1 or known.was_lost:
            self.taken_from_store(call_id)
        known.epoch = max(known.epoch, epoch)

    def counted(self, call_id: str, kept: Kept | None, held: tuple[int, int, int]) -> None:
        """A write was carried out: what its record counts, and what the store holds."""
        if kept is not None and kept[:3] != held and not self.known(call_id).was_evicted:
            self.broken(f"record and parts agree: {kept} are counted, {held} are held")

    def evicted(self, call_id: str) -> None:
        """The store lost one of the keys of a call."""
        known = self.known(call_id)
        known.was_evicted = known.was_lost = known.lost_what_it_had = True
        known.durable_n = 0

    def went_on_without(self, call_id: str) -> None:
        """A call was claimed of which the store held less than it counts."""
        known = self.known(call_id)
        if not known.was_evicted:
            self.broken("record and parts agree: a claim found less than was counted")
        known.forgotten = True

    def kept_what_was_added(self, release: str, call_id: str, gone: set[str]) -> None:
        """A write of a release is done; `gone`: where something is missing since that another release had added.

        Of a call that the store has lost, a pod that had it before writes all first, and then its owner.
        """
        if gone and not self.known(call_id).was_lost:
            where = ", ".join(sorted(item_id or "the record" for item_id in gone))
            self.broken(f"an unknown field survives: the release {release} took away what stood in {where}")

    def taken_by(self, call_id: str, release: str) -> None:
        """A pod of a release has claimed a call."""
        known = self.known(call_id)
        self.counts["between releases"] += known.release not in ("", release)
        known.release = release

    def written_by(self, call_id: str, release: str) -> None:
        """A pod of a release has written a call: the first one has made it."""
        known = self.known(call_id)
        known.release = known.release or release

    def store_lost(self, call_id: str, durable_n: int, epoch: int) -> None:
        """The store forgot a call, or its newest part."""
        known = self.known(call_id)
        known.durable_n, known.epoch, known.handed_off_ms = durable_n, epoch, 0
        known.is_missing = not epoch
        known.was_lost = known.lost_what_it_had = True

    def not_found(self, call_id: str) -> None:
        """A caller is told that there is no such call; it may have been written back since."""
        if self.known(call_id).was_lost or self.known(call_id).is_missing:
            self.taken_from_store(call_id, missed=True)

    def taken_from_store(self, call_id: str, *, missed: bool = False) -> None:
        """Somebody goes on with what the store holds (or has learnt that it holds nothing)."""
        known = self.known(call_id)
        taken_back = known.is_behind_edge and known.lost_what_it_had
        if known.heard_n > known.durable_n or known.is_missing or missed or taken_back:
            self.note(f"forgotten: events {known.durable_n + 1} to {known.heard_n} are in nobody's memory")
            known.forgotten = True
        elif known.was_lost:
            # Sent, and never heard: nobody remembers these, so others may follow under their numbers.
            known.texts = {n: text for n, text in known.texts.items() if n <= known.durable_n}

    def no_such_key(self, key: str) -> None:
        """The store says that it knows no such key: a new call may be made for it."""
        if key in self.keys and self.known(self.keys[key]).is_missing:
            self.taken_from_store(self.keys[key])

    # --- the caller's side --------------------------------------------------------

    def let_out(self, call_id: str, events: list[OutboxEntry]) -> None:
        """The store is given up for now: these may be sent all the same."""
        if events:
            known = self.known(call_id)
            known.excused_n = max(known.excused_n, events[-1].n)

    def sent(self, pod: str, call_id: str, n: int, text: str, *, listened_to: bool) -> None:
        """A pod sends an event; its caller may be gone from there without the pod's knowing."""
        self.counts["events"] += 1
        known = self.known(call_id)
        if known.forgotten:
            return
        if n > known.ever_durable_n and n > known.excused_n:
            self.broken(f"durable before visible: {pod} sent evt_{n}, the store had up to evt_{known.ever_durable_n}")
        if not listened_to or n > known.ever_durable_n:
            return
        first = known.texts.setdefault(n, text)
        if first != text:
            self.broken(f"exactly once: evt_{n} was {first[:160]} and is now {text[:160]}")

    def handed_off(self, pod: str, call_id: str, heard_ms: int) -> None:
        """A pod closes for another one to go on.

        One that has learnt that the call is another's closes like this, too, for the newest of several connections
        (design 3.4, 3.6): what was said to it while the store was away is in nobody's memory.
        """
        if pod not in self.known(call_id).outsiders:
            self.known(call_id).handed_off_ms = heard_ms

    def greeted(self, call_id: str, input_audio_ms: int) -> None:
        """A pod tells a caller from where on it wants the caller's audio."""
        known = self.known(call_id)
        if input_audio_ms < known.handed_off_ms and not known.forgotten:
            self.broken(
                f"the caller's words: a handoff saved {input_audio_ms} of the {known.handed_off_ms} ms that were said"
            )

    def heard(self, call_id: str, n: int) -> None:
        """An event reached its caller, or the edge in front."""
        known = self.known(call_id)
        known.heard_n = max(known.heard_n, n)

    def found_state(self, call_id: str, owner: object, event: tuple[int, int], handled: int) -> None:
        """An agent was given an event, perhaps again, and finds how many it had handled before.

        `owner`: the call as the pod has it in memory. What comes behind an event that came again may find another
        state: how that one ended the time before was not durable.
        """
        is_first = not any(one is owner for one in self.owners)
        if is_first:
            self.owners.append(owner)
        before = self.states.get((call_id, *event), handled)
        if handled != before and is_first and not self.known(call_id).forgotten:
            self.broken(f"state with the acknowledgement: event {event[0]} found {before}, and then {handled}")
        self.states[call_id, *event] = handled

    def keys_wait(self, call_id: str, keys: set[tuple[int, int]]) -> None:
        """The store has these keys of the telephone for an agent to be told of."""
        known = self.known(call_id)
        known.untold_keys |= keys - known.told_keys

    def told_of_key(self, call_id: str, number: int, at_ms: int) -> None:
        """An agent is told of a key, perhaps again; it must have been of those before."""
        known = self.known(call_id)
        known.given_keys.add((number, at_ms))
        missed = min(known.untold_keys - known.given_keys, default=(number, at_ms))
        if missed < (number, at_ms) and not (known.was_lost or known.forgotten):
            self.broken(f"a key is told: event {number} came, and {missed[0]} never did")

    def key_heard(self, call_id: str, number: int, at_ms: int) -> None:
        """A caller was told of a key that it pressed."""
        known = self.known(call_id)
        if (number, at_ms) in known.told_keys and not known.forgotten:
            self.broken(f"a key is told: event {number} was, twice")
        known.told_keys.add((number, at_ms))
        known.untold_keys.discard((number, at_ms))

    def waits_for_key(self, call_id: str) -> bool:
        """Whether a caller has yet to be told of a key."""
        known = self.known(call_id)
        return bool(known.untold_keys) and not (known.was_lost or known.forgotten)

    def result_is_known(self, call_id: str, effect: str) -> None:
        """An agent was given the result of a side effect, which is durable."""
        self.known(call_id).results.add(effect)

    def did(self, effect: str, key: str, epoch: int) -> None:
        """A side effect happened in the world; `epoch`: of the call, as the pod has it that did it."""
        known = self.known(effect.partition("/")[0])
        if effect in known.results and epoch == known.epoch and not (known.was_lost or known.forgotten):
            self.broken(f"tools run once: the side effect of {effect} was done again, though its result was known")
        keys = self.effects.setdefault(effect, {})
        keys[key] = keys.get(key, 0) + 1
        self.note(f"side effect of {effect} under {key}")
        if any(key in others for of, others in self.effects.items() if of != effect):
            self.broken(f"tools run once: the side effect of {effect} was done under {key}, the key of another")
        if len(keys) > 1:
            self.broken(f"tools run once: the side effect of {effect} was done under the keys {list(keys)}")
