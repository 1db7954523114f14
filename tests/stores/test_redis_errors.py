"""What each answer and each failure of a server means, and what is shown of a URL that is not usable."""

from __future__ import annotations

import pytest
from redis import exceptions

from voice_agent.errors import SettingsError, StoreDeclined, StoreError, StoreFull, StoreRefused, StoreUnavailable
from voice_agent.stores.base import WriteOutcome
from voice_agent.stores.factory import open_store
from voice_agent.stores.redis_errors import (
    DECLINED,
    DECLINED_CODES,
    FINAL,
    PASSING,
    PASSING_CODES,
    InvalidUrl,
    concerns_one_run,
    is_elsewhere,
    meaning,
    outcome_of_failure,
    unusable,
)

URL = "redis://host"
PASSING_ONLY = [kind for kind in PASSING if kind not in DECLINED and issubclass(kind, exceptions.ResponseError)]
PASSING_CODES_ONLY = [code for code in PASSING_CODES if code not in DECLINED_CODES]
MEANINGS: list[tuple[Exception, type[StoreError]]] = [
    *((kind("no"), StoreRefused) for kind in FINAL),
    *((kind("1 host:1"), StoreDeclined) for kind in DECLINED),
    *((exceptions.ResponseError(f"{code} now"), StoreDeclined) for code in DECLINED_CODES),
    (exceptions.ConnectionError("max number of clients reached"), StoreDeclined),
    *((kind("1 host:1"), StoreUnavailable) for kind in PASSING_ONLY),
    *((exceptions.ResponseError(f"{code} now"), StoreUnavailable) for code in PASSING_CODES_ONLY),
    (exceptions.ConnectionError("lost"), StoreUnavailable),
    (exceptions.TimeoutError("slow"), StoreUnavailable),
    (exceptions.RedisClusterException("no node"), StoreUnavailable),
    (OSError("lost"), StoreUnavailable),
    (TimeoutError(), StoreUnavailable),
    (exceptions.OutOfMemoryError("no room"), StoreFull),
    (exceptions.ResponseError("OOM command not allowed"), StoreFull),
    (exceptions.ResponseError("command not allowed when used memory > 'maxmemory'"), StoreFull),
    (exceptions.ResponseError("WRONGTYPE"), StoreRefused),
]


@pytest.mark.parametrize(("error", "kind"), MEANINGS, ids=repr)
def test_whether_to_ask_again_is_told_by_the_kind_of_error(error: Exception, kind: type[StoreError]) -> None:
    """Exactly that kind: a refusal is no outage, want of memory is neither."""
    assert type(meaning(error, URL)) is kind


def test_of_a_cluster_that_cannot_be_reached_the_cause_counts() -> None:
    """Its client says only that no node can be reached: a wrong password is refused all the same."""
    failure = exceptions.RedisClusterException("no node")
    failure.__cause__ = exceptions.AuthenticationError("wrong password")
    assert type(meaning(failure, URL)) is StoreRefused


@pytest.mark.parametrize("kind", [exceptions.ResponseError, exceptions.AuthenticationError])
@pytest.mark.parametrize(("about", "reason"), [("", "wrong"), ("a-key", "a-key: wrong")])
def test_a_refusal_names_the_key_that_was_asked_for(kind: type[Exception], about: str, reason: str) -> None:
    """The server does not say which one it means."""
    assert meaning(kind("wrong"), URL, about).reason == reason


@pytest.mark.parametrize(
    ("error", "alone"),
    [
        (exceptions.ResponseError("WRONGTYPE"), True),
        (exceptions.ConnectionError("lost"), False),
        (OSError(), False),
        (exceptions.NoPermissionError("no"), False),
        *((kind("1 host:1"), False) for kind in PASSING),
        *((exceptions.ResponseError(f"{code} now"), False) for code in PASSING_CODES),
        (exceptions.OutOfMemoryError("no room"), False),
    ],
    ids=repr,
)
def test_an_answer_that_concerns_one_run_is_told_from_what_concerns_all(error: Exception, alone: bool) -> None:
    """What the server, or memory, or a password is about, is about every other run too."""
    assert concerns_one_run(error) is alone


@pytest.mark.parametrize(
    ("error", "elsewhere"),
    [
        (exceptions.ReadOnlyError("replica"), True),
        (exceptions.ConnectionError("lost"), True),
        (exceptions.ResponseError("NOREPLICAS too few"), True),
        (exceptions.ResponseError("MASTERDOWN"), True),
        (exceptions.ResponseError("LOADING"), False),
        (exceptions.TimeoutError("slow"), False),
    ],
    ids=repr,
)
def test_only_some_failures_say_that_the_master_may_be_another(error: Exception, elsewhere: bool) -> None:
    """Connections to a server that is merely slow or loading are kept."""
    assert is_elsewhere(error) is elsewhere


@pytest.mark.parametrize(
    ("words", "outcome"), [("WRONGTYPE of key", WriteOutcome.UNKNOWN), ("ERR value", WriteOutcome.REJECTED)]
)
def test_a_write_that_fails_alone_is_unknown_or_rejected(words: str, outcome: WriteOutcome) -> None:
    """Only what a whole write would replace makes its call unknown."""
    assert outcome_of_failure(exceptions.ResponseError(words)) is outcome


@pytest.mark.parametrize(
    ("error", "url", "reason"),
    [
        (InvalidUrl("ours"), "redis://u:p@host", "ours"),
        (ValueError("p"), "redis://u:p@host", "check the host and port, and percent-encode"),
        (TypeError("f() got an unexpected keyword argument 'x'"), URL, "unknown parameter 'x'"),
        (ValueError("theirs"), URL, "theirs"),
    ],
    ids=repr,
)
def test_a_url_that_is_not_usable_is_explained(error: Exception, url: str, reason: str) -> None:
    """In our words where a password may be in the client's."""
    assert f"is not usable: {reason}" in unusable(url, error)


@pytest.mark.parametrize("what", ["correct-horse", ":horse://x", "1horse://x", ""])
def test_what_is_no_url_is_not_shown(what: str) -> None:
    """It may be a password."""
    with pytest.raises(SettingsError, match="this is no URL") as refusal:
        open_store(what, ttl_s=10)
    assert "horse" not in str(refusal.value)
