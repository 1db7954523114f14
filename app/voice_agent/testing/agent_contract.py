"""What every agent promises, tried on calls without sockets and without waiting (see `simulate`); for pytest."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from voice_agent.kit.agent import Agent
from voice_agent.testing.call_transcript import Mismatch
from voice_agent.testing.script import Script
from voice_agent.testing.simulate import PLAIN, Surroundings, simulate, survives

BLOCKS_S = 0.2
"""Every caller of the pod hears a step that takes so long."""
ENDS_WITHIN_S = 1.0
"""A call that moves waits for its agent to end."""


class AgentContract:
    """The contract of every agent. A class of yours inherits it and sets `agent`, and a `script` that shows it all."""

    agent: ClassVar[type[Agent] | Callable[[], Agent]] = Agent
    """A class, or what makes one."""
    script: Script = ("Hello.",)
    surroundings: Surroundings = PLAIN
    """Its settings, and the session of its caller."""
    first_words_s = 1.5
    """So long a caller may wait for the first words of an answer that has more than one sentence."""
    every = 1
    """Of so many moments a crash and a handoff are tried at one: for long scripts."""

    def _made(self) -> Agent:
        return type(self).agent()

    def test_a_call_goes_to_its_end_without_an_error(self) -> None:
        """With what the script has it do, and a state that survives JSON."""
        run = simulate(self._made, self.script, surroundings=self.surroundings)
        assert run.errors == []
        assert run.ended != "stuck", str(run)

    def test_a_crash_at_any_moment_changes_nothing_that_the_caller_hears(self) -> None:
        """Nor what is done in the world: nothing is said or done twice, nothing left out."""
        run = survives(self._made, self.script, surroundings=self.surroundings, every=self.every)
        twice = [name for name, keys in run.side_effects.items() if keys > 1]
        assert twice == []

    def test_a_handoff_at_any_moment_changes_nothing_and_waits_for_nothing(self) -> None:
        """Cancelled wherever it waits, it ends at once."""
        expected = simulate(self._made, self.script, surroundings=self.surroundings)
        with_audio = self.surroundings.voice().deterministic
        for moment in range(1, expected.awaits + 1, self.every):
            moved = simulate(self._made, self.script, hand_off_at=moment, surroundings=self.surroundings)
            what = f"handed off at moment {moment} of {expected.awaits}"
            if moved.lines(with_audio=with_audio) != expected.lines(with_audio=with_audio):
                raise Mismatch(what, expected, moved, with_audio=with_audio)
            assert not moved.conduct.not_ended, f"{what}, it does not end"
            took_s = max(moved.conduct.ends_s, default=0.0)
            assert took_s <= ENDS_WITHIN_S, f"{what}, it takes {took_s:.1f} s to end"

    def test_the_first_words_come_before_the_last_sentence_is_made(self) -> None:
        """An answer of several sentences is given as it is made."""
        run = simulate(self._made, self.script, surroundings=self.surroundings)
        late = {event: took_s for event, took_s in run.conduct.first_words_s.items() if took_s > self.first_words_s}
        assert late == {}

    def test_it_never_blocks_the_event_loop(self) -> None:
        """No step takes long, whatever else the machine does: what took long once and not twice was none of its own."""
        runs = [simulate(self._made, self.script, surroundings=self.surroundings).conduct for _ in range(2)]
        slow = [{at for at, took_s in run.slow_steps.items() if took_s > BLOCKS_S} for run in runs]
        assert slow[0] & slow[1] == set()

    def test_it_acknowledges_only_what_is_done(self) -> None:
        """Nothing that it does for an event goes on when it asks for the next."""
        assert simulate(self._made, self.script, surroundings=self.surroundings).conduct.unfinished == []
