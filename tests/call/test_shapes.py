"""The checks that tables are made of, where the session and the items do not show them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.call.shapes import MAX_DEPTH, fields, free_json, integer, number, text, wrong_type
from app.errors import ProtocolMistake


def nested(depth: int) -> Any:
    """A value inside so many arrays."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_free_json_is_bounded_in_depth() -> None:
    """The deepest value that passes can be written as JSON again; one level more is refused."""
    check = free_json(10_000)
    orjson.dumps(check(nested(MAX_DEPTH - 1), "x"))
    with pytest.raises(ProtocolMistake, match=f"nests deeper than {MAX_DEPTH} levels"):
        check(nested(MAX_DEPTH), "x")


@pytest.mark.parametrize(
    ("value", "size"),
    [("x" * 92, 100), (["x"] * 10, 98), ({"é" * 20: None}, 56), ([{"a": "b"}, 1], 34)],
)
def test_free_json_is_bounded_in_size(value: Any, size: int) -> None:
    """Texts count by their bytes, every value for eight more; the bound itself is allowed."""
    assert free_json(size)(value, "x") is value
    with pytest.raises(ProtocolMistake, match=f"larger than the allowed {size - 1} bytes"):
        free_json(size - 1)(value, "x")


def test_a_whole_float_is_an_integer() -> None:
    """JavaScript writes 500.0 as 500 or not; both are the integer, and infinity is none."""
    check = integer(0, 1000)
    assert check(500.0, "x") == 500
    assert isinstance(check(500.0, "x"), int)
    for wrong in (0.5, float("inf"), float("nan"), True, "5", None):
        with pytest.raises(ProtocolMistake):
            check(wrong, "x")


def test_not_a_number_is_out_of_bounds() -> None:
    """NaN is within no bounds."""
    with pytest.raises(ProtocolMistake):
        number(0, 1)(float("nan"), "x")


def test_a_pattern_must_match_to_the_end() -> None:
    """A line break behind a good name does not pass."""
    with pytest.raises(ProtocolMistake, match="must consist of letters"):
        text(10, pattern="[a-z]+", means="letters")("abc\n", "x")


def test_fields_of_a_message_have_plain_paths() -> None:
    """At the top of a message the path is the field's name alone."""
    with pytest.raises(ProtocolMistake) as caught:
        fields({}, required=("item",))({}, "")
    assert caught.value.param == "item"


def test_free_json_is_bounded_in_values() -> None:
    """However they nest; the bound itself is allowed."""
    check = free_json(10_000, max_values=10)
    value: dict[str, Any] = {"a": [1, 2, 3], "b": {"c": [[], {}]}, "d": None}
    assert check(value, "x") is value
    value["e"] = 0
    with pytest.raises(ProtocolMistake, match="10 values"):
        check(value, "x")


@pytest.mark.parametrize(
    ("value", "got"), [(None, "null"), (True, "a boolean"), (1, "an integer"), ([], "an array"), ({}, "an object")]
)
def test_a_value_of_another_type_is_named_as_json_has_it(value: object, got: str) -> None:
    """What was wanted and what came instead."""
    mistake = wrong_type(value, "session.voice", "a string")
    assert mistake.param == "session.voice"
    assert f"must be a string, but it is {got}" in str(mistake)


@pytest.mark.parametrize("value", ["x" * 11, "\u00e9" * 6])
def test_a_text_is_bounded_in_bytes(value: str) -> None:
    """As it is sent and stored, not in characters."""
    assert text(12)(value, "x") == value
    with pytest.raises(ProtocolMistake, match=f"is {len(value.encode())} bytes long; at most 10 are allowed"):
        text(10)(value, "x")
