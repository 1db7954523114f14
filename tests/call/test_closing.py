"""Close codes."""

from __future__ import annotations

from websockets import frames

from voice_agent.call.closing import MAY_RESUME, REASONS, CloseCode

OURS = range(4400, 4500)


def test_standard_codes_are_those_of_the_library() -> None:
    """Each code below 4000 has the name and number of the registry, and each of ours is in our own range."""
    standard = {code.name: int(code) for code in CloseCode if code < 4000}
    assert standard.items() <= {code.name: int(code) for code in frames.CloseCode}.items()
    assert all(code in OURS for code in CloseCode if code >= 4000)


def test_reasons_fit_a_close_frame() -> None:
    """No reason is cut on its way to the client."""
    assert all(len(reason.encode()) <= 123 for reason in REASONS.values())


def test_a_call_that_ended_is_not_resumed() -> None:
    """After a hang-up, and after each code of ours, the client stays away."""
    assert not MAY_RESUME & {code for code in CloseCode if code in OURS or code == CloseCode.NORMAL_CLOSURE}
