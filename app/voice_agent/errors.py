"""Every error this server raises on purpose.

::

    VoiceAgentError
    ├── SettingsError          the process must not start
    ├── ProtocolError          the caller broke the event protocol; the call goes on
    ├── ConnectionRefused      a WebSocket is answered with an HTTP status instead of an upgrade
    ├── RecordUnreadable       the record of one call is not what this version reads
    ├── RecordingUnreadable    a file of recorded inputs is not what this version reads
    └── StoreError
        ├── StoreUnavailable   no answer, or no answer in time: a later try may succeed
        │   └── StoreDeclined  it answered "not now" (a replica, too few replicas, a disk that is full)
        ├── StoreFull          no memory left for it: it may succeed once something else has gone
        └── StoreRefused       the store answered "no" for good (bad password, wrong type)
            ├── StoreUnfit     it lacks what calls need
            └── OtherLayout    what is kept in it is of a schema that this version does not read

Outcomes that are part of normal work, such as a write refused because a newer
epoch exists, are return values and not errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_SCHEMA_CHARS = 20
"""Of what a record says of its schema: stops what is no schema from filling a message."""


class VoiceAgentError(Exception):
    """Root of the tree. `exit_status`: of a command that fails with it."""

    exit_status = 1


class SettingsError(VoiceAgentError):
    """A setting is missing or wrong; `str()` is the one line to print before exiting."""

    exit_status = 2


class ProtocolError(VoiceAgentError):
    """The caller sent something that the protocol does not allow here.

    It becomes an `error` event and the call goes on. `limit` is the name of the bound that was reached, in
    ``voice_limits_total``; "" where none was.
    """

    def __init__(self, message: str, *, code: str, param: str | None = None, limit: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.limit = limit


def invalid(path: str, problem: str, code: str = "invalid_value") -> ProtocolError:
    """`problem` completes a sentence that starts with the field at a dotted path: "must be …"."""
    return ProtocolError(f"'{path}' {problem}.", code=code, param=path)


class ConnectionRefused(VoiceAgentError):
    """A connection that is answered with an HTTP status and a JSON body before the upgrade."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: int | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """`details`: more members of the body's ``error``."""
        super().__init__(message)
        self.details = details or {}
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s


class RecordUnreadable(VoiceAgentError):
    """The record of a call is of another version's schema, or damaged. It stays as it is; `str()` is for callers."""

    def __init__(self, schema: bytes, damage: str = "") -> None:
        """`schema` as the record says it, "" if it does not; `damage`: what was wrong, for the log."""
        self.schema = schema[:MAX_SCHEMA_CHARS].decode(errors="backslashreplace")
        self.damage = damage

    def __str__(self) -> str:
        schema = f"of schema {self.schema}" if self.schema else "without a schema"
        if self.damage:
            return f"The record of this call ({schema}) is damaged."
        return f"The record of this call is {schema}, which this version does not read; another pod may."


class RecordingUnreadable(VoiceAgentError):
    """A recording of a call's inputs is of another format, or damaged; `str()` says how."""

    exit_status = 2


class StoreError(VoiceAgentError):
    """The session store did not do what it was asked.

    `reason` says why, in the store's own words where it has any, and names no address: it may be shown to anybody.
    """

    def __init__(self, message: str = "", *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


class StoreUnavailable(StoreError):
    """The store cannot be reached or did not answer in time."""


class StoreDeclined(StoreUnavailable):
    """The store answers, and does not do it for now: a later try may succeed."""


class StoreFull(StoreError):
    """The store answers, but has no memory for what was asked."""


class StoreRefused(StoreError):
    """The store is reachable but refuses: wrong password, wrong kind of server, bad value."""


class StoreUnfit(StoreRefused):
    """The store cannot keep calls at all: it lacks commands."""


class OtherLayout(StoreRefused):
    """What is kept in the store is of a schema that this version does not read; nothing of it was changed."""

    def __init__(self, schema: int, schemas: tuple[int, int]) -> None:
        """`schemas`: the oldest and the newest that are read."""
        self.schema = schema
        oldest, newest = schemas
        read = f"{oldest}" if oldest == newest else f"{oldest} to {newest}"
        super().__init__(
            f"the store is of schema {schema}, and this version reads schema {read}: take a version that reads it, "
            "or drain every pod, empty the store and start again (docs/runbook.md)"
        )
