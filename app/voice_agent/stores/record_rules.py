"""What a store decides about a call, as pure functions of what its record says.

A store that can read and write in one transaction needs no more than these: it reads the fields of the record, asks
here, and carries out the answer. `MemoryStore` does so. The Lua scripts of the stores on Redis say the same again,
for they decide inside the server; a test compares both step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from voice_agent.call.changes import CallWrite
from voice_agent.call.completeness import Kept
from voice_agent.errors import RecordUnreadable
from voice_agent.stores.base import ERASED, TOMBSTONE_FIELDS, Claim, NotClaimed, WriteOutcome

Held = Callable[[], Iterable[int]]
"""How many items, outbox entries and speech entries of a call a store holds; asked only where the record counts."""


def judge_write(write: CallWrite, record: Mapping[str, bytes], held: Held) -> WriteOutcome | dict[str, bytes]:
    """What is answered to a write that is not carried out, else the fields to write. No record has no fields.

    If the write is whole or ends the call, the fields stand in place of the record's, else they are added to those.
    """
    epoch, claim, revision, held_epoch = write.epoch, write.claim, 0, 0
    if record:
        if ERASED in record:
            return WriteOutcome.ENDED
        held_epoch, held_claim = int(record["epoch"]), record.get("claim", b"").decode()
        if held_epoch > epoch:
            if not write.doubted or held_claim != write.doubted or held_epoch != epoch + 1:
                return WriteOutcome.SUPERSEDED
            epoch, claim = held_epoch, held_claim
        elif held_epoch == epoch and claim and held_claim and claim != held_claim:
            return WriteOutcome.SUPERSEDED
        revision = int(record.get("revision", b"0"))
        if write.revision and revision >= write.revision and held_epoch == epoch:
            return WriteOutcome.COMMITTED
    is_next = not write.revision or revision == write.revision - 1
    if not write.whole and (not record or held_epoch < epoch or not is_next or _lacks_some(record, held)):
        return WriteOutcome.UNKNOWN
    fields = {**write.fields, "epoch": b"%d" % epoch}
    if claim:
        fields["claim"] = claim.encode()
    if write.revision:
        fields["revision"] = b"%d" % write.revision
    return fields


def _lacks_some(record: Mapping[str, bytes], held: Held) -> bool:
    """Whether something is gone that the record counts."""
    counted = Kept.unpack(record)
    return counted is not None and any(counted.missing(*held()))


def judge_claim(claim: Claim, record: Mapping[str, bytes]) -> NotClaimed | dict[str, bytes]:
    """Why a claim is turned down, else the fields to add to the record; the new epoch is one of them.

    Raises `RecordUnreadable` if the claimant does not read the record's schema.
    """
    if not record:
        return NotClaimed.UNKNOWN
    if claim.api_key_hash is not None and record.get("api_key_hash", b"").decode() != claim.api_key_hash:
        return NotClaimed.FOREIGN
    if record.get("status") == b"ended":
        return NotClaimed.ENDED
    schema = record.get("schema", b"")
    if claim.schemas is not None and not (schema.isdigit() and claim.schemas[0] <= int(schema) <= claim.schemas[1]):
        raise RecordUnreadable(schema)
    is_made_already = bool(claim.name) and record.get("claim", b"").decode() == claim.name
    return {
        "epoch": b"%d" % (int(record["epoch"]) + (not is_made_already)),
        "owner": claim.owner.encode(),
        "color": claim.color.encode(),
        "status": b"attached",
        "claimed_at_ms": b"%d" % claim.now_ms,
        "claim": claim.name.encode(),
    }


def tombstone(record: Mapping[str, bytes], now_ms: int) -> dict[str, bytes]:
    """The fields that stand in place of the record's once its call was erased."""
    fields = {name: value for name, value in record.items() if name in TOMBSTONE_FIELDS}
    if fields.get("status") != b"ended":
        fields.update(status=b"ended", outcome=b"admin", ended_at_ms=b"%d" % now_ms)
    return {**fields, "epoch": b"%d" % (int(fields["epoch"]) + 1), ERASED: b"1"}
