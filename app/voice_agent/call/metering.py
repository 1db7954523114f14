"""Requests to providers, as a call counts them (see `usage`).

They change nothing of a call but its sums, and what `response.done` says a response has used: the sum over the requests
made for it, as far as all of them have told it.
"""

from __future__ import annotations

from typing import assert_never

from voice_agent.call.effects import CountLimit, Effect
from voice_agent.call.inputs import (
    FromMeter,
    UsageAttributed,
    UsageBegun,
    UsageKnown,
    UsageUnknown,
    UsageWithdrawn,
)
from voice_agent.call.record import CallRecord
from voice_agent.call.response import Response
from voice_agent.call.status import Status
from voice_agent.call.usage import MAX_OPEN, OTHER, Figures, OpenRequest, ResponseUsage, UsageLedger

AFTER_THE_END_MS = 60_000
"""So long after the end of a call requests are counted with it: stops a task that outlives its call, and works for
others by now, from writing the call, and so from keeping what was said beyond its retention."""


def apply(call: CallRecord, event: FromMeter, now_ms: int) -> list[Effect]:
    """Take it. What is told of a request that is not open is ignored: it is over, or another pod's."""
    if call.lifecycle.status is Status.ENDED and now_ms - call.lifecycle.ended_at_ms > AFTER_THE_END_MS:
        return []
    if isinstance(event, UsageBegun):
        return _begun(call, event)
    ledger = call.usage
    if ledger is None or event.request_id not in ledger.open:
        return []
    match event:
        case UsageAttributed(request_id, response_id):
            # Only of the response under way: an agent may give any text.
            is_open = call.response is not None and call.response.response_id == response_id
            ledger.open[request_id].response_id = response_id if is_open else None
        case UsageKnown(request_id, figures):
            _settle(call, ledger, request_id, figures)
        case UsageUnknown(request_id):
            _settle(call, ledger, request_id, {})
        case UsageWithdrawn(request_id):
            del ledger.open[request_id]
        case _:
            assert_never(event)
    call.record.mark("usage")
    return []


def take_over(call: CallRecord) -> None:
    """Another pod has the call: the one that made the requests that are open is gone, or will not be heard."""
    ledger = call.usage
    if ledger is None:
        return
    ledger.stored = ledger.settled()
    for request_id in list(ledger.open):
        _settle(call, ledger, request_id, {})
        call.record.mark("usage")


def usage_of(call: CallRecord, response: Response) -> ResponseUsage | None:
    """What the requests made for a response have used; one that is open is not known. None: there are none."""
    ledger, used = call.usage, response.usage
    if ledger is None or all(one.response_id != response.response_id for one in ledger.open.values()):
        return used
    known = ResponseUsage() if used is None else ResponseUsage(dict(used.figures))
    known.add({})
    return known


def _begun(call: CallRecord, begun: UsageBegun) -> list[Effect]:
    ledger = call.usage = call.usage or UsageLedger()
    pair = ledger.pair(begun.provider, begun.model)
    limits: list[Effect] = [CountLimit("usage_pairs")] if pair == f"{OTHER}/{OTHER}" else []
    ledger.open[begun.request_id] = OpenRequest(pair, begun.response_id)
    call.record.mark("usage")
    if len(ledger.open) > MAX_OPEN:
        _settle(call, ledger, begun.request_id, {})
        limits.append(CountLimit("usage_open"))
    return limits


def _settle(call: CallRecord, ledger: UsageLedger, request_id: str, figures: Figures) -> None:
    request = ledger.open.pop(request_id)
    ledger.settle(request_id, request.pair, figures)
    response = call.response
    if response is not None and request.response_id == response.response_id:
        used = response.usage or ResponseUsage()
        used.add(figures)
        if used.figures or used.unknown:
            response.usage = used
            call.record.mark("response")
