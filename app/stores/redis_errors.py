"""What goes wrong with Redis, in this project's words: told apart, and shown without secrets."""

from __future__ import annotations

from redis import exceptions

from app.errors import StoreError, StoreRefused, StoreUnavailable

FINAL = (exceptions.AuthenticationError, exceptions.NoPermissionError, exceptions.AuthorizationError)
PASSING = (
    exceptions.ReadOnlyError,  # a failover made this server a replica
    exceptions.OutOfMemoryError,
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
    """`StoreUnavailable` if a later try may succeed, else `StoreRefused`."""
    where = f"the store at {without_password(url)}"
    if isinstance(error, FINAL):
        return StoreRefused(f"{where} refuses: {error}")
    if not isinstance(error, exceptions.ResponseError):
        return StoreUnavailable(f"{where} cannot be reached: {str(error) or 'no answer in time'}")
    if isinstance(error, PASSING) or str(error).startswith(PASSING_CODES):
        return StoreUnavailable(f"{where} cannot do it now: {error}")
    return StoreRefused(f"{where} refuses: {error}")


def concerns_one_key(error: Exception) -> bool:
    """Whether something that is no record of ours stands under a key; other keys are not touched by that."""
    return isinstance(error, exceptions.ResponseError) and "WRONGTYPE" in str(error)


def unusable(url: str, error: Exception) -> str:
    """One line about a URL that makes no connection; the client's own words may quote parts of a password."""
    if "@" in url:
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
