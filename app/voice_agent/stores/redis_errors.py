"""What goes wrong with Redis, in this project's words: told apart, and shown without secrets."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, unquote

from redis import exceptions

from voice_agent.errors import StoreDeclined, StoreError, StoreFull, StoreRefused, StoreUnavailable
from voice_agent.stores.base import WriteOutcome

FAILURES = (
    exceptions.RedisError,
    exceptions.RedisClusterException,  # no node can be reached, or a slot has no node; no RedisError
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
DECLINED = (exceptions.ReadOnlyError, exceptions.NoScriptError)
DECLINED_CODES = ("NOREPLICAS", "MISCONF", "BUSY ", "max number of clients")
"""Of the passing ones, what the server that was meant says itself: it is there, and may say so for long."""
URL_PARTS = re.compile(r"(?s)(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?")
IN_SCRIPT = re.compile(r",? script: ([0-9a-f]{40})?,? *on @.*", re.DOTALL)
ARGUMENTS = re.compile(r",?\s*with args beginning with.*", re.DOTALL | re.IGNORECASE)
"""Of a command that the server does not know it repeats what came with it: with ``HELLO``, the password."""
MAX_WORDS_CHARS = 200
"""Of an answer that goes into logs and health checks: some quote what they were sent."""


def meaning(error: Exception, url: str, about: str = "") -> StoreError:
    """`StoreFull` for want of memory, `StoreUnavailable` if a later try may succeed, else `StoreRefused`.

    Of those that may succeed later, `StoreDeclined` are what the server itself refuses. `about` is the key that was
    asked for, "" if several were: only the server knows, and does not say, which one it means.
    """
    where = f"the store at {without_password(url)}"
    if isinstance(error.__cause__, FINAL):
        error = error.__cause__  # a cluster's client says only that no node can be reached
    words = words_of(error, url)
    reason = f"{about}: {words}" if about else words
    if isinstance(error, FINAL):
        return StoreRefused(f"{where} refuses: {reason}", reason=reason)
    if isinstance(error, DECLINED) or str(error).startswith(DECLINED_CODES):
        return StoreDeclined(f"{where} refuses for now: {words}", reason=words)
    if not isinstance(error, exceptions.ResponseError):
        return StoreUnavailable(f"{where} cannot be reached: {words or 'no answer in time'}")
    if is_full(error):
        return StoreFull(f"{where} is full: {words}", reason=words)
    if isinstance(error, PASSING) or str(error).startswith(PASSING_CODES):
        return StoreUnavailable(f"{where} cannot do it now: {words}", reason=words)
    return StoreRefused(f"{where} refuses: {reason}", reason=reason)


def words_of(error: Exception, url: str = "") -> str:
    """What the server says, without where in which script, what it was sent, and the passwords of the URL."""
    words = ARGUMENTS.sub("", IN_SCRIPT.sub("", str(error)))
    for password in _passwords(url):
        words = words.replace(password, "***")
    return words[:MAX_WORDS_CHARS]


def parts_of(url: str) -> SplitResult:
    """The parts of a URL that may name several hosts.

    By the expression of RFC 3986, appendix B, for `urlsplit` refuses a list with an IPv6 address behind its first host
    since it checks what stands in brackets (Python 3.11.12 and its like). As with `urlsplit` a blank or a new line at
    either end, as a file of a secret has it, is no part of it.
    """
    found = URL_PARTS.fullmatch(url.strip())
    assert found is not None, "the expression matches any text"
    return SplitResult(*(part or "" for part in found.groups()))


def _passwords(url: str) -> list[str]:
    """As they stand in the URL and as they are sent; the longest first, for one may be a part of another."""
    parts = parts_of(url)
    given = [parts.netloc.rpartition("@")[0].partition(":")[2]]
    given += re.findall(r"password=([^&]*)", parts.query)
    return sorted({form for password in given if password for form in (password, unquote(password))}, key=len)[::-1]


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


class InvalidUrl(ValueError):
    """What is wrong with a URL, in words that quote none of its values."""


def unusable(url: str, error: Exception) -> str:
    """One line about a URL that makes no connection; the client's own words may quote parts of a password."""
    if isinstance(error, InvalidUrl):
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
