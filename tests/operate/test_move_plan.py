"""What an operator may ask for, and what is said of the plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.operate.test_drain import heartbeat
from tests.operate.test_evacuating import pod
from voice_agent.errors import SettingsError
from voice_agent.operate.balancing import PlannedMove
from voice_agent.operate.fleet import Fleet
from voice_agent.operate.move_plan import MoveRequest
from voice_agent.stores.base import RouterWeights

FLEET = Fleet(
    [
        replace(pod("one", 9), node="node-a", address="ws://one:1"),
        replace(pod("two", 1), node="node-b", address="ws://two:1"),
    ]
)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"calls": 1, "percent": 1, "sources": ["one"]}, "--count and --share"),
        ({"packs": True, "sources": ["one"]}, "--pack chooses"),
        ({"packs": True, "calls": 1}, "--pack chooses"),
        ({"percent": 1}, "Give --from"),
        ({"percent": 1, "targets": ["one"]}, "Give --from"),
        ({"calls": 1}, "Give --from or --to"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], why: str) -> None:
    """Before the store is asked for anything."""
    with pytest.raises(SettingsError, match=why):
        MoveRequest(**{"sources": None, "targets": None, **options})


def test_a_pod_does_not_give_to_itself() -> None:
    """Nor by way of its node's name."""
    with pytest.raises(SettingsError, match="one: both in --from and in --to"):
        MoveRequest(["node-a"], ["one"]).plan(FLEET)


def test_a_plan_says_what_each_pod_has_afterwards() -> None:
    """By the load, by number, or by share; a share that is no whole number is a call more."""
    plan = MoveRequest(None, None).plan(FLEET)
    assert (plan.moves, plan.remarks) == ((PlannedMove("one", "two", 4),), ())
    assert (plan.calls, plan.change("one"), plan.change("two"), plan.change("three")) == (4, -4, 4, 0)
    assert plan.is_work
    assert MoveRequest(["node-a"], None, calls=2).plan(FLEET).moves == (PlannedMove("one", "two", 2),)
    assert MoveRequest(["node-a"], ["two"], percent=50).plan(FLEET).moves == (PlannedMove("one", "two", 5),)
    assert plan.as_json()["moves"] == ({"source": "one", "target": "two", "calls": 4},)


def test_what_a_plan_cannot_do_is_said() -> None:
    """Less than was asked for, pods that cannot be asked, and those that tell no address."""
    plan = MoveRequest(["one"], None, calls=10).plan(FLEET)
    assert plan.remarks == ("9 calls of 10: the rest cannot move, or has no room",)
    plan = MoveRequest(None, None).plan(Fleet([heartbeat("one", 9), pod("two", 1)]))
    assert plan.remarks == ("nothing to move", "of a version that cannot be asked: one")
    plan = MoveRequest(None, None).plan(Fleet([pod("one", 9), pod("two", 1)]))
    assert plan.remarks == ("without an address (VOICE_ADVERTISE_ADDRESS), so that a load balancer chooses: two",)


def test_a_packing_names_the_pods_that_can_go() -> None:
    """Also those that are empty already; where none can, it says so."""
    plan = MoveRequest(None, None, packs=True).plan(FLEET)
    assert (plan.emptied, plan.moves) == (("two",), (PlannedMove("two", "one", 1),))
    assert plan.remarks == ("can be removed once they are empty: two",)
    plan = MoveRequest(None, None, packs=True, fill=0.8).plan(FLEET)
    assert (plan.is_work, plan.remarks) == (False, ("no pod can be emptied",))
    plan = MoveRequest(None, None, packs=True).plan(Fleet([pod("one"), pod("two")]))
    assert (plan.emptied, plan.is_work) == (("one",), True)


def test_the_color_that_waits_for_its_cutover_is_not_packed() -> None:
    """Its pods are idle until callers are sent there; without a word of the router, a color with calls serves."""
    waiting = [pod("green-1", color="green"), pod("green-2", color="green")]
    fleet = Fleet([pod("blue-1", 3), pod("blue-2"), *waiting])
    packs = MoveRequest(None, None, packs=True)
    assert packs.plan(fleet).emptied == ("blue-2",)
    assert packs.plan(fleet, RouterWeights({"blue": 100, "green": 0}, 1)).emptied == ("blue-2",)
    assert packs.plan(fleet, RouterWeights({"blue": 50, "green": 50}, 1)).emptied == ("blue-2", "green-1")
    assert packs.plan(fleet, RouterWeights({}, 1)).emptied == ()
    assert packs.plan(Fleet(waiting)).emptied == ("green-1",)
