"""The contract of agents: kept by those of the house, and broken by each wrong one where it is wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.testing.agents import Clerk, Forgetful
from tests.testing.wrong_agents import Blocking, Clinging, Collecting, Failing, Hasty, KeyedByNumber
from voice_agent.agents.echo import Echo
from voice_agent.agents.scripted import Scripted, ScriptedTurn, Sentences
from voice_agent.kit.agent import Agent
from voice_agent.testing import AgentContract

EVERY = 13


class Counter(Scripted):
    """As the documents have it, shorter."""

    name = "counter"

    async def answer(self, turn: ScriptedTurn) -> Sentences:
        for n in range(1, 3):
            yield f"This is {n}. "


class TestScripted(AgentContract):
    """An agent that yields sentences."""

    agent = Counter
    script = "hello"
    every = EVERY


class TestEcho(AgentContract):
    """The one that says back what it hears."""

    agent = Echo
    script = "hello"
    every = EVERY


class TestClerk(AgentContract):
    """One on the engine itself: greeting, side effect, two turns."""

    agent = Clerk
    script = ("one", "two")
    every = EVERY


def contract_of(made: type[Agent]) -> AgentContract:
    """The contract, of one agent."""

    class ContractOfOne(AgentContract):
        agent = made
        script = "one"
        every = 3

    return ContractOfOne()


@pytest.mark.parametrize(
    ("agent", "test"),
    [
        (Failing, AgentContract.test_a_call_goes_to_its_end_without_an_error),
        (KeyedByNumber, AgentContract.test_a_call_goes_to_its_end_without_an_error),
        (Forgetful, AgentContract.test_a_crash_at_any_moment_changes_nothing_that_the_caller_hears),
        (Clinging, AgentContract.test_a_handoff_at_any_moment_changes_nothing_and_waits_for_nothing),
        (Collecting, AgentContract.test_the_first_words_come_before_the_last_sentence_is_made),
        (Blocking, AgentContract.test_it_never_blocks_the_event_loop),
        (Hasty, AgentContract.test_it_acknowledges_only_what_is_done),
    ],
)
def test_a_wrong_agent_is_found(agent: type[Agent], test: Callable[[AgentContract], None]) -> None:
    """A contract that every agent keeps proves nothing."""
    contract = contract_of(agent)
    if agent is Forgetful:
        contract.script = ("one", "two")
    with pytest.raises(AssertionError):
        test(contract)
