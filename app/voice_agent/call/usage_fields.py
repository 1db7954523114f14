"""How a `UsageLedger` stands in the record, and comes back.

One field, which a write carries when it changed; a call that counts nothing has none. It stays when the call has ended,
for it says nothing of what was said. ::

    usage  {"sums": {"openai/gpt-5-mini": {"known": 3, "unknown": 1, "input_tokens": 812, "output_tokens": 90}},
            "open": {"req_5f…": {"pair": "openai/gpt-5-mini", "response_id": "resp_…"}}, "unknown_ids": ["req_0c…"]}

What a newer version adds is kept: also a unit that this one does not know, which is added to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from voice_agent.call.record import CallRecord
from voice_agent.call.usage import UNITS, OpenRequest, ResponseUsage, UsageLedger, UsageSum

USAGE = "usage"


def encode_usage(call: CallRecord, to: dict[str, bytes]) -> None:
    """All of it, if anything was counted."""
    ledger = call.usage
    if ledger is None:
        return
    to[USAGE] = orjson.dumps(
        {
            **ledger.extras,
            "sums": {pair: _flat_sum(one) for pair, one in ledger.sums.items()},
            "open": {request_id: _flat_request(one) for request_id, one in ledger.open.items()},
            "unknown_ids": ledger.unknown_ids,
        }
    )


def restore_usage(record: Mapping[str, bytes]) -> UsageLedger | None:
    """None if the record has none. Raises `LookupError`, `TypeError` or `ValueError` for what is damaged."""
    if not record.get(USAGE):
        return None
    told = orjson.loads(record[USAGE])
    sums = {pair: _sum(dict(one)) for pair, one in told.pop("sums").items()}
    requests = {request_id: _request(dict(one)) for request_id, one in told.pop("open").items()}
    return UsageLedger(sums, requests, [str(one) for one in told.pop("unknown_ids")], extras=told)


def flat_response_usage(used: ResponseUsage) -> dict[str, Any]:
    """Of a response, as it stands among its fields."""
    return {**used.extras, "figures": used.figures, "unknown": used.unknown}


def restore_response_usage(told: dict[str, Any]) -> ResponseUsage:
    """Raises as `restore_usage`."""
    figures = {str(unit): int(figure) for unit, figure in told.pop("figures").items()}
    return ResponseUsage(figures, [str(unit) for unit in told.pop("unknown")], extras=told)


def _flat_sum(one: UsageSum) -> dict[str, Any]:
    return {**one.extras, "known": one.known, "unknown": one.unknown, **one.figures}


def _sum(told: dict[str, Any]) -> UsageSum:
    figures = {unit: int(told.pop(unit)) for unit in UNITS if unit in told}
    return UsageSum(int(told.pop("known")), int(told.pop("unknown")), figures, extras=told)


def _flat_request(one: OpenRequest) -> dict[str, Any]:
    named = {} if one.response_id is None else {"response_id": one.response_id}
    return {**one.extras, "pair": one.pair, **named}


def _request(told: dict[str, Any]) -> OpenRequest:
    return OpenRequest(str(told.pop("pair")), told.pop("response_id", None), extras=told)
