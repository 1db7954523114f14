"""Requests are signed as Standard Webhooks has it."""

from __future__ import annotations

import base64

import pytest

from voice_agent.agents.tools.signing import Signer

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(b"x" * 64).decode()
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_signature_is_that_of_the_reference_libraries() -> None:
    """The vector that all of them have in their tests."""
    assert Signer(SECRET).headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, BODY) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
    }


def test_while_a_secret_is_replaced_both_sign() -> None:
    """The receiver may know either."""
    signed = Signer(f"{OTHER} {SECRET}").headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, BODY)
    assert signed["webhook-signature"].split()[1] == SIGNATURE
    assert len(signed["webhook-signature"].split()) == 2


@pytest.mark.parametrize(
    "wrong",
    ["", " ", SECRET.removeprefix("whsec_"), "whsec_", "whsec_!", "whsec_c2hvcnQ=", OTHER + "AAAA"],
)
def test_what_is_no_secret_is_refused_and_not_repeated(wrong: str) -> None:
    """Neither too short nor too long, nor anything but base64."""
    with pytest.raises(ValueError, match="secret") as raised:
        Signer(wrong)
    assert not wrong.strip() or wrong == "whsec_" or wrong not in str(raised.value)


@pytest.mark.parametrize("wrong", ["", "a.b", "a b", "a\r\nb", "ä", "x" * 257])
def test_an_id_cannot_be_taken_for_something_else(wrong: str) -> None:
    """Full stops part what is signed; a line break would be a header of its own."""
    with pytest.raises(ValueError, match="no id"):
        Signer(SECRET).headers(wrong, 1, b"")
