"""Whether what is kept in a store can be read at all: asked once, before anything else is read or written.

The first pod of a store puts the oldest schema that it reads into it, or a cutover that comes before any; each pod
tells it again to a store that comes back empty. One of the time before schemas were told has none, but what a pod
leaves behind; it is taken for schema 1.
"""

from __future__ import annotations

from voice_agent.call.schema import READS_SCHEMAS, reads
from voice_agent.errors import OtherLayout
from voice_agent.stores.base import Store


async def check_layout(store: Store, *, begins: bool) -> None:
    """Raises `OtherLayout` for a store of a schema that this version does not read, and `StoreError`.

    `begins`: a store in which nothing is kept yet becomes one of this version's schema; else nothing is written.
    """
    found = await store.layout(READS_SCHEMAS[0] if begins else None)
    if found is not None and not reads(found, READS_SCHEMAS):
        raise OtherLayout(found, READS_SCHEMAS)
