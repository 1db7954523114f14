"""Plans of who gives calls to whom: for any fleet, and for some that are worth a look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from voice_agent.operate.balancing import LAG_MS, PlannedMove, PodLoad, balance, loads, pack, shift
from voice_agent.stores.base import PodHeartbeat


@st.composite
def fleets(draw: st.DrawFn) -> list[PodLoad]:
    """Pods of two colors, some of which lag, are overfull or take no calls."""
    made = []
    for number in range(draw(st.integers(0, 6))):
        capacity = draw(st.integers(0, 40))
        calls = draw(st.integers(0, capacity + capacity // 4))
        made.append(
            PodLoad(
                name=f"pod-{number}",
                color=draw(st.sampled_from(("blue", "green"))),
                calls=calls,
                movable=draw(st.integers(0, calls)),
                capacity=capacity,
                lags=draw(st.booleans()),
                takes_calls=draw(st.booleans()),
            )
        )
    return made


def after(pods: Sequence[PodLoad], moves: Sequence[PlannedMove]) -> list[PodLoad]:
    """The fleet once the moves are made."""
    gone: Counter[str] = Counter()
    come: Counter[str] = Counter()
    for move in moves:
        gone[move.source] += move.calls
        come[move.target] += move.calls
    return [
        replace(
            pod,
            calls=pod.calls - gone[pod.name] + come[pod.name],
            movable=pod.movable - gone[pod.name] + come[pod.name],
        )
        for pod in pods
    ]


def check(pods: Sequence[PodLoad], moves: Sequence[PlannedMove], *, fill: float = 1.0) -> None:
    """What holds for every plan."""
    by_name = {pod.name: pod for pod in pods}
    assert all(move.calls > 0 and move.source != move.target for move in moves)
    assert not {move.source for move in moves} & {move.target for move in moves}
    for pod in after(pods, moves):
        before = by_name[pod.name]
        assert pod.movable >= 0
        if pod.calls > before.calls:
            assert before.takes_calls
            assert pod.calls <= pod.capacity * fill


@given(fleets(), st.lists(st.sets(st.integers(0, 5)), max_size=8))
@example([PodLoad(name, "blue", 50, 50, 100) for name in ("a", "b")], [{0}, {1}, {0}, {1}])
def test_balancing_a_fleet_fills_no_pod_beyond_its_capacity_and_ends(pods: list[PodLoad], hot: list[set[int]]) -> None:
    """Nor across colors; who took calls gives none back, and who gave takes none, whichever pods lag in turn."""
    gave: set[str] = set()
    took: set[str] = set()
    for lagging in [{number for number, pod in enumerate(pods) if pod.lags}, *hot]:
        pods = [replace(pod, lags=number in lagging) for number, pod in enumerate(pods)]
        moves = balance(pods)
        check(pods, moves)
        by_name = {pod.name: pod for pod in pods}
        assert all(by_name[move.source].color == by_name[move.target].color for move in moves)
        gave |= {move.source for move in moves}
        took |= {move.target for move in moves}
        assert not gave & took
        pods = after(pods, moves)


@given(fleets(), st.integers(0, 80), st.sets(st.sampled_from([f"pod-{n}" for n in range(6)])))
def test_an_operator_gets_the_number_asked_for_or_all_that_can_move(
    pods: list[PodLoad], calls: int, named: set[str]
) -> None:
    """From the pods that are named, to others of their color with room."""
    moves = shift(pods, calls, frozenset(named), None)
    check(pods, moves)
    assert {move.source for move in moves} <= named
    moved = sum(move.calls for move in moves)
    colors = {pod.color for pod in pods if pod.name in named}
    room = sum(
        max(0, pod.capacity - pod.calls)
        for pod in pods
        if pod.takes_calls and pod.color in colors and pod.name not in named
    )
    assert moved == min(calls, room, sum(pod.movable for pod in pods if pod.name in named))


@given(fleets(), st.sampled_from((0.5, 0.8, 1.0)))
def test_packing_empties_pods_wholly_and_leaves_one_of_each_color(pods: list[PodLoad], fill: float) -> None:
    """That takes calls; none that was to be emptied takes any."""
    packing = pack(pods, fill)
    check(pods, packing.moves, fill=fill)
    left = {pod.name: pod for pod in after(pods, packing.moves)}
    assert all(left[name].calls == 0 for name in packing.emptied)
    assert {move.source for move in packing.moves} <= set(packing.emptied)
    for color in {left[name].color for name in packing.emptied}:
        assert any(pod.takes_calls for pod in left.values() if pod.color == color and pod.name not in packing.emptied)
    again = pack([pod for name, pod in left.items() if name not in packing.emptied], fill)
    assert set(again.emptied).isdisjoint(packing.emptied)


def pod(name: str, calls: int, capacity: int = 100, **more: object) -> PodLoad:
    return replace(PodLoad(name, "blue", calls, calls, capacity), **more)  # type: ignore[arg-type]  # fields


def test_a_fleet_that_is_about_even_is_left_alone() -> None:
    """A tenth and two calls more than its share is nothing that a caller hears."""
    assert balance([pod("a", 57), pod("b", 45), pod("c", 48)]) == []
    assert balance([pod("a", 3), pod("b", 0)]) == []


def test_a_pod_with_more_than_its_share_gives_what_is_more() -> None:
    """To those with the lowest load; a larger pod's share is larger."""
    assert balance([pod("a", 90), pod("b", 30), pod("c", 30)]) == [PlannedMove("a", "b", 20), PlannedMove("a", "c", 20)]
    assert balance([pod("a", 60, 200), pod("b", 30)]) == []
    assert balance([pod("a", 0, 200), pod("b", 90)]) == [PlannedMove("b", "a", 60)]


def test_a_pod_that_lags_gives_all_that_is_more_than_its_share() -> None:
    """However little that is; never more, and it takes none, however few it has."""
    assert balance([pod("a", 45, lags=True), pod("b", 40), pod("c", 35)]) == [PlannedMove("a", "c", 5)]
    assert balance([pod("a", 50, lags=True), pod("b", 50)]) == []
    assert balance([pod("a", 5, lags=True), pod("b", 60)]) == []


def test_calls_go_only_from_and_to_pods_that_are_named() -> None:
    """Where any are."""
    fleet = [pod("a", 90), pod("b", 90), pod("c", 0), pod("d", 0)]
    assert balance(fleet, frozenset("a"), frozenset("c")) == [PlannedMove("a", "c", 45)]
    assert shift(fleet, 10, frozenset("a"), frozenset("c")) == [PlannedMove("a", "c", 10)]
    assert shift(fleet, 10, None, frozenset("c")) == [PlannedMove("a", "c", 5), PlannedMove("b", "c", 5)]


def test_a_call_goes_to_another_color_only_where_that_is_named() -> None:
    """There a release is another one."""
    fleet = [pod("a", 90), pod("b", 0, color="green")]
    assert balance(fleet) == []
    assert shift(fleet, 10, frozenset("a"), None) == []
    assert shift(fleet, 10, frozenset("a"), frozenset("b")) == [PlannedMove("a", "b", 10)]


def test_packing_fills_the_fullest_first() -> None:
    """So that as many as can be are empty; one whose calls cannot all move stays."""
    fleet = [pod("a", 10), pod("b", 20), pod("c", 60), pod("d", 0)]
    packing = pack(fleet, 0.8)
    assert packing.emptied == ["d", "a"]
    assert packing.moves == [PlannedMove("a", "c", 10)]
    packing = pack([replace(fleet[0], movable=9), *fleet[1:3]], 0.8)
    assert (packing.emptied, packing.moves) == (["b"], [PlannedMove("b", "c", 20)])
    packing = pack([*fleet[:3], pod("old", 0, can_be_asked=False)], 0.8)
    assert packing.emptied == ["a", "b"]


def test_a_heartbeat_says_what_a_pod_can_give() -> None:
    """Of a pod that cannot be asked, nothing; one that leaves is in no plan."""

    def said(name: str, status: str, **more: object) -> PodHeartbeat:
        made = PodHeartbeat(name, "blue", "1", status, 10, 0, 20, 1, 1, calls_not_resumable=3, applied_request="")
        return replace(made, **more)  # type: ignore[arg-type]  # fields

    found = loads(
        [
            said("b", "overloaded", loop_lag_ms=LAG_MS + 1),
            said("a", "ok"),
            said("old", "ok", applied_request=None),
            said("gone", "draining"),
        ]
    )
    assert found == [
        PodLoad("a", "blue", 10, 7, 20),
        PodLoad("b", "blue", 10, 7, 20, lags=True, takes_calls=False),
        PodLoad("old", "blue", 10, 0, 20, can_be_asked=False),
    ]
