"""Addresses of models, as settings give them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from voice_agent.providers.endpoint import Endpoint

SECRET = "sk-very-secret"
OPENAI = "https://api.openai.com/v1"


def test_an_address_and_a_key_are_enough() -> None:
    """The label is the host; the key is a bearer's."""
    endpoint = Endpoint.model_validate({"url": OPENAI, "key": f" {SECRET}\n"})
    assert endpoint.name == "api.openai.com"
    assert endpoint.address("/audio/speech") == "https://api.openai.com/v1/audio/speech"
    assert endpoint.request_headers() == {"Authorization": f"Bearer {SECRET}"}
    assert Endpoint(url=OPENAI).request_headers() == {}


def test_azure_has_its_own_header_and_its_version_in_the_query() -> None:
    """Whether the version stands in the address or beside it."""
    base = "https://mine.openai.azure.com/openai/deployments/gpt"
    for endpoint in (
        Endpoint(url=f"{base}?api-version=2024-10-21", key=SecretStr(SECRET)),
        Endpoint(url=base, query={"api-version": "2024-10-21"}, key=SecretStr(SECRET)),
    ):
        assert endpoint.address("chat/completions") == f"{base}/chat/completions?api-version=2024-10-21"
        assert endpoint.request_headers() == {"api-key": SECRET}
    assert not Endpoint(url="https://openai.azure.com.example.org/").is_azure


def test_secrets_are_in_no_text_of_it() -> None:
    """Neither in its repr nor in that of what holds it; and are struck out of what a provider says."""
    endpoint = Endpoint.model_validate(
        {
            "url": f"{OPENAI}?key={SECRET}1",
            "key": SECRET,
            "headers": {"x": f"{SECRET}2"},
            "query": {"q": f"{SECRET}3"},
        }
    )
    assert SECRET not in f"{endpoint} {endpoint!r} {[endpoint]}"
    assert endpoint.hidden(f"key {SECRET}, {SECRET}2") == "key ***, ***"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "api.openai.com"}, "is no address"),
        ({"url": "ftp://a/"}, "is no address"),
        ({"url": "http://"}, "is no address"),
        ({"url": "http://[::1"}, "is no address"),
        ({"url": "http://a:b/"}, "is no address"),
        ({"url": "http://a/ b"}, "is no address"),
        ({"url": f"https://me:{SECRET}@a/"}, "holds credentials"),
        ({"url": "https://a/#b"}, "has a part behind '#'"),
        ({"url": OPENAI, "key": f"{SECRET}\r\nX: y"}, "a character that no key has"),
        ({"url": OPENAI, "key": " "}, "is empty"),
        ({"url": OPENAI, "headers": {"a b": SECRET}}, "'a b' is no header"),
        ({"url": OPENAI, "headers": {"a": f"{SECRET}\n"}}, "'a' is no header, or has a value that none has"),
        ({"url": OPENAI, "name": "a b"}, "must be letters"),
        ({"url": OPENAI, "first_s": 0}, "greater than 0"),
        ({"url": OPENAI, "kye": SECRET}, "not permitted"),
    ],
)
def test_what_is_wrong_is_told_without_a_secret(given: dict[str, Any], said: str) -> None:
    """It ends in a line that the operator reads, and in a log."""
    with pytest.raises(ValidationError, match=said) as raised:
        Endpoint.model_validate(given)
    assert SECRET not in str(raised.value)


@given(st.text())
def test_no_text_makes_another_error(text: str) -> None:
    """Whatever stands in an environment."""
    for given_ in ({"url": text}, {"url": f"http://{text}"}, {"url": OPENAI, "key": text}):
        with suppress(ValidationError):
            Endpoint.model_validate(given_).address("x")
