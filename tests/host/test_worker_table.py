from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from voice_agent.call.drain import DrainMode
from voice_agent.host.worker_table import SILENT_S, STATES, HostDrain, WorkerState, WorkerTable, queues_of
from voice_agent.stores.base import PodState

ROWS = st.lists(
    st.builds(WorkerState, status=st.sampled_from(STATES), written_s=st.sampled_from([0.0, 9.0, 10.0])),
    min_size=1,
    max_size=6,
)
NOW_S = 10.0 + SILENT_S / 2


@given(ROWS)
def test_every_queue_is_served_by_one_worker_that_is_fit_for_it(rows: list[WorkerState]) -> None:
    """Whoever drains, is full, hangs or is gone: nobody's connection is left waiting, and none is accepted twice.

    If no worker takes calls, those that are left refuse for all: also for the one that had no call and left first.
    """
    serving = [slot for slot, row in enumerate(rows) if row.takes_calls(NOW_S)]
    queues = {slot: queues_of(slot, rows, NOW_S) for slot in range(len(rows))}
    serving = serving or [slot for slot, row in enumerate(rows) if row.answers(NOW_S)]
    if not serving:
        assert all(queues[slot] == {slot} for slot in queues)
        return
    assert all(not queues[slot] for slot in queues if slot not in serving)
    assert sorted(queue for slot in serving for queue in queues[slot]) == list(range(len(rows)))
    assert all(slot in queues[slot] for slot in serving)


def test_a_silent_worker_takes_no_calls() -> None:
    """One whose loop hangs cannot say so."""
    assert WorkerState(PodState.OK, written_s=NOW_S).takes_calls(NOW_S)
    assert not WorkerState(PodState.OK, written_s=NOW_S - SILENT_S).takes_calls(NOW_S)
    assert not WorkerState(PodState.DRAINING, written_s=NOW_S).takes_calls(NOW_S)


def test_a_table_is_the_same_memory_after_a_fork() -> None:
    """What a child writes the parent reads, and what it says of the host too."""
    table = WorkerTable(2)
    assert table.rows() == [WorkerState(), WorkerState()]
    said = WorkerState(PodState.DEGRADED, active_calls=3, parked_calls=1, capacity=200, written_s=5.5)
    child = os.fork()
    if child == 0:
        table.write(1, said)
        table.set_drain(HostDrain(DrainMode.FINISH, 30.0), leaving=True)
        os._exit(0)
    os.waitpid(child, 0)
    assert table.rows() == [WorkerState(), said]
    assert (table.drain, table.is_leaving) == (HostDrain(DrainMode.FINISH, 30.0), True)
    table.set_drain(None)
    assert (table.drain, table.is_leaving) == (None, False)
