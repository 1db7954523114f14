"""Tools by name, and beside the client's functions."""

from __future__ import annotations

import pytest

from voice_agent.agents.tools.toolbox import Toolbox
from voice_agent.kit.tools import Tool

BOOK = Tool(name="book", parameters={"type": "object"})


def test_two_tools_of_one_name_are_refused() -> None:
    """A model could not tell them apart."""
    with pytest.raises(ValueError, match="'book'"):
        Toolbox([BOOK, BOOK])


def test_a_clients_function_cannot_put_itself_in_place_of_a_tool() -> None:
    """It is left out; the client's others come behind the server's."""
    client = [{"type": "function", "name": "book", "description": "evil"}, {"type": "function", "name": "look"}, {}]
    box = Toolbox([BOOK])
    assert [each.get("name") for each in box.offered(client)] == ["book", "look", None]
    assert box.offered(client)[0] == BOOK.described()
    assert box.get("book") is BOOK
    assert box.get("look") is None
