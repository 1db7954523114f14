"""What whoever starts an author's agent reads of what is wrong with it; see `test_registry` too."""

from __future__ import annotations

from voice_agent.opening import NotOpened, told_in_one_line


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:  # noqa: BLE001 any that a test gives
        return caught


def test_it_is_told_where_the_mistake_is() -> None:
    """In one line, however many the message has; one of a file says where by itself."""
    assert told_in_one_line(raised(ValueError("no\nmodel"))).startswith("ValueError: no model (test_opening.py, line ")
    assert told_in_one_line(raised(OSError(2, "No such file", "model.bin"))) == "[Errno 2] No such file: 'model.bin'"
    assert told_in_one_line(raised(OSError())).startswith("OSError (test_opening.py, line ")


def test_the_line_names_the_agent() -> None:
    """And what to do."""
    said = str(NotOpened("agent 'mine'", OSError("no sound")))
    assert said.startswith("The agent 'mine' cannot be opened: OSError: no sound. Mend it, ")
