"""Which format a call's record has, and in which one a pod writes it.

The *schema* numbers the layout of the whole store: records, items, streams, heartbeats, drain requests, the journal of
a cutover. What is added to it, a field that a release before does not know, changes no number: that release keeps it as
it is. What is changed in it takes two releases. The first reads both schemas, and writes the newer one only while every
pod says in its heartbeat that it reads it; the second no longer reads the older one. ::

    release   reads   writes
    1.4       2       2
    1.5       2, 3    3 while no pod of 1.4 is there, else 2
    1.6       3       3
"""

from __future__ import annotations

from collections.abc import Iterable

SCHEMA = 2
"""What records are written in that no decision was made for."""
READS_SCHEMAS = (SCHEMA, SCHEMA)
"""The oldest and the newest schema that this version reads."""


def reads(schema: int, schemas: tuple[int, int]) -> bool:
    """Whether a schema is between the oldest and the newest one of some that are read."""
    return schemas[0] <= schema <= schemas[1]


def written_schema(own: tuple[int, int], others: Iterable[tuple[int, int]]) -> int:
    """What a pod writes that reads `own` schemas: the newest that each of the `others` reads, too.

    Never an older one than it reads itself: pods that have no schema in common cannot take over each other's calls.
    """
    return max(own[0], min(own[1], *(newest for _, newest in others), own[1]))
