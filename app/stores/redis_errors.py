"""What goes wrong with Redis, in this project's words: told apart, and shown without secrets."""

from __future__ import annotations

from redis import exceptions

from app.errors import StoreError, StoreFull, StoreRefused, StoreUnavailable
from app.stores.base import WriteOutcome

FAILURES = (
    exceptions.RedisError,
    exceptions.RedisClusterException,  # no node can be reached, or nobody serves a slot; no RedisError
    OSError,
    TimeoutError,
    RuntimeError,  # uvloop's word for a connection that was reset between two questions
)
"""Everything a question may raise."""
FINAL = (exceptions.AuthenticationError, exceptions.NoPermissionError, exceptions.AuthorizationError)
PASSING = (
    exceptions.ReadOnlyError,  # a failover made this server a replica
    exceptions.NoScriptError,  # the scripts were flushed again right after they were loaded
    exceptions.TryAgainError,
    exceptions.ClusterDownError,
    exceptions.MovedError,
    exceptions.AskError,
    exceptions.BusyLoadingError,
)
PASSING_CODES = ("NOREPLICAS", "MISCONF", "BUSY ", "MASTERDOWN", "LOADING", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK ")
"""Beginnings of passing errors for which the client has no class; of the others it cuts the code off the text."""


def meaning(error: Exception, url: str) -> StoreError:
    """`StoreFull` for want of memory, `StoreUnavailable` if a later try may succeed, else `StoreRefused`."""
    where = f"the store at {without_password(url)}"
    if isinstance(error.__cause__, FINAL):
        error = error.__cause__  # a cluster's client says only that no node can be reached
    if isinstance(error, FINAL):
        return StoreRefused(f"{where} refuses: {error}")
    if not isinstance(error, exceptions.ResponseError):
        return StoreUnavailable(f"{where} cannot be reached: {str(error) or 'no answer in time'}")
    if is_full(error):
        return StoreFull(f"{where} is full: {error}")
    if isinstance(error, PASSING) or str(error).startswith(PASSING_CODES):
        return StoreUnavailable(f"{where} cannot do it now: {error}")
    return StoreRefused(f"{where} refuses: {error}")


def is_elsewhere(error: Exception) -> bool:
    """Whether the master that takes writes may be another server by now than the one that was asked.

    One that is cut off from its replicas says so at every write, as long as its connections last.
    """
    return isinstance(error, exceptions.ReadOnlyError | exceptions.ConnectionError) or str(error).startswith(
        ("NOREPLICAS", "MASTERDOWN")
    )


def is_full(error: Exception) -> bool:
    """Whether the server is at its `maxmemory` and refuses what may need more."""
    return isinstance(error, exceptions.OutOfMemoryError) or str(error).startswith(("OOM ", "command not allowed when"))


def concerns_one_run(error: Exception) -> bool:
    """Whether an answer says nothing about any other run of a script: the server works, and refuses just this."""
    if not isinstance(error, exceptions.ResponseError) or isinstance(error, (*FINAL, *PASSING)):
        return False
    return not is_full(error) and not str(error).startswith(PASSING_CODES)


def outcome_of_failure(error: Exception) -> WriteOutcome:
    """What such an answer means for a write.

    What stands under a key and is no record of ours is replaced when the whole call is written.
    """
    return WriteOutcome.UNKNOWN if "WRONGTYPE" in str(error) else WriteOutcome.REJECTED


class UrlMistake(ValueError):
    """What is wrong with a URL, in words that quote none of its values."""


def unusable(url: str, error: Exception) -> str:
    """One line about a URL that makes no connection; the client's own words may quote parts of a password."""
    if isinstance(error, UrlMistake):
        reason = str(error)
    elif "@" in url:
        reason = "check the host and port, and percent-encode special characters in the user name and password"
    elif isinstance(error, TypeError):
        reason = f"unknown parameter {str(error).rpartition('argument ')[2]}"
    else:
        reason = str(error)
    return f"VOICE_STORE_URL: {without_password(url)} is not usable: {reason}"


def without_password(url: str) -> str:
    """The URL as it may be shown: all before the last ``@`` is hidden, also where a password was not encoded."""
    scheme, _, rest = url.partition("://")
    credentials, _, place = rest.rpartition("@")
    for mark in "?#":
        place = place.partition(mark)[0]
    return f"{scheme}://{'***@' if credentials else ''}{place}"
