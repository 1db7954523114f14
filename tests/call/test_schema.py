"""What records are written in, of what pods read."""

from __future__ import annotations

import pytest

from tests.call.calls import feed, new_call
from voice_agent.call import inputs
from voice_agent.call.effects import Write
from voice_agent.call.schema import SCHEMA, written_schema


@pytest.mark.parametrize(
    ("own", "others", "written"),
    [
        ((2, 2), [], 2),
        ((2, 3), [], 3),
        ((2, 3), [(2, 3), (3, 4)], 3),
        ((2, 3), [(2, 3), (2, 2)], 2),
        ((2, 3), [(0, 0)], 2),
        ((3, 4), [(2, 2)], 3),
        ((2, 4), [(2, 3), (3, 5)], 3),
    ],
)
def test_what_is_written_is_the_newest_that_every_pod_reads(
    own: tuple[int, int], others: list[tuple[int, int]], written: int
) -> None:
    """A pod that does not say reads nothing new; and what a pod does not read itself it never writes."""
    assert written_schema(own, others) == written


def test_a_record_in_another_schema_is_written_anew() -> None:
    """Once and as a whole, for a record is in one schema; then again what changed."""
    call = new_call()
    for schema in (SCHEMA + 1, SCHEMA):
        [write] = feed(call, inputs.TakeWrite(schema=schema))
        assert isinstance(write, Write)
        assert (write.write.whole, write.write.fields["schema"]) == (True, b"%d" % schema)
        [write] = feed(call, inputs.TakeWrite(schema=schema))
        assert isinstance(write, Write)
        assert (write.write.whole, "schema" in write.write.fields) == (False, False)
