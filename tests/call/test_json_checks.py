"""The checks that tables are made of, where the session and the items do not show them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
import pytest

from voice_agent.call.json_checks import (
    MAX_DEPTH,
    Check,
    array,
    boolean,
    fields,
    free_json,
    free_object,
    integer,
    number,
    one_of,
    shown,
    text,
    wrong_type,
)
from voice_agent.errors import ProtocolError

Make = Callable[[], Check]


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
    with pytest.raises(ProtocolError, match=f"nests deeper than {MAX_DEPTH} levels"):
        check(nested(MAX_DEPTH), "x")


@pytest.mark.parametrize(
    ("value", "size"),
    [("x" * 92, 100), (["x"] * 10, 98), ({"é" * 20: None}, 56), ([{"a": "b"}, 1], 34), ([[], {}], 24)],
)
def test_free_json_is_bounded_in_size(value: Any, size: int) -> None:
    """Texts count by their bytes, every value for eight more; the bound itself is allowed, and nothing below it."""
    assert free_json(size)(value, "x") is value
    for less in range(size):
        with pytest.raises(ProtocolError, match=f"larger than the allowed {less} bytes"):
            free_json(less)(value, "x")


def test_what_is_too_large_is_not_counted_to_its_end() -> None:
    """Its size is what is wrong with it, however many values it holds."""
    with pytest.raises(ProtocolError, match="larger than the allowed 10 bytes"):
        free_json(10, max_values=1)([1, 2, 3], "x")


def test_a_whole_float_is_an_integer() -> None:
    """JavaScript writes 500.0 as 500 or not; both are the integer, and infinity is none."""
    check = integer(0, 1000)
    assert check(500.0, "x") == 500
    assert isinstance(check(500.0, "x"), int)
    for wrong in (0.5, float("inf"), float("nan"), True, "5", None):
        with pytest.raises(ProtocolError):
            check(wrong, "x")


def test_not_a_number_is_out_of_bounds() -> None:
    """NaN is within no bounds."""
    with pytest.raises(ProtocolError):
        number(0, 1)(float("nan"), "x")


def test_a_pattern_must_match_to_the_end() -> None:
    """A line break behind a good name does not pass."""
    with pytest.raises(ProtocolError, match="must consist of letters"):
        text(10, pattern="[a-z]+", means="letters")("abc\n", "x")


def test_fields_of_a_message_have_plain_paths() -> None:
    """At the top of a message the path is the field's name alone."""
    with pytest.raises(ProtocolError) as caught:
        fields({}, required=("item",))({}, "")
    assert caught.value.param == "item"


def test_free_json_is_bounded_in_values() -> None:
    """However they nest; the bound itself is allowed."""
    check = free_json(10_000, max_values=10)
    value: dict[str, Any] = {"a": [1, 2, 3], "b": {"c": [[], {}]}, "d": None}
    assert check(value, "x") is value
    value["e"] = 0
    with pytest.raises(ProtocolError, match="10 values"):
        check(value, "x")


@pytest.mark.parametrize(
    ("value", "got"), [(None, "null"), (True, "a boolean"), (1, "an integer"), ([], "an array"), ({}, "an object")]
)
def test_a_value_of_another_type_is_named_as_json_has_it(value: object, got: str) -> None:
    """What was wanted and what came instead."""
    error = wrong_type(value, "session.voice", "a string")
    assert error.param == "session.voice"
    assert f"must be a string, but it is {got}" in str(error)


@pytest.mark.parametrize("value", ["x" * 11, "\u00e9" * 6])
def test_a_text_is_bounded_in_bytes(value: str) -> None:
    """As it is sent and stored, not in characters."""
    assert text(12)(value, "x") == value
    with pytest.raises(ProtocolError, match=f"is {len(value.encode())} bytes long; at most 10 are allowed"):
        text(10)(value, "x")


def names(**more: Any) -> Check:
    """An object with one known field."""
    return fields({"name": text(5)}, **more)


TAKEN: list[tuple[Make, Any, Any]] = [
    (partial(text, 3), "", ""),
    (partial(text, 3), "abc", "abc"),
    (partial(text, 3, min_bytes=2), "ab", "ab"),
    (partial(text, 3, pattern="[a-z]+", means="letters"), "abc", "abc"),
    (lambda: boolean, False, False),
    (partial(integer, 1, 3), 1, 1),
    (partial(integer, 1, 3), 3, 3),
    (partial(number, 0.25, 1.5), 0.25, 0.25),
    (partial(number, 0.25, 1.5), 1, 1),
    (partial(number, 0.25, 1.5), 1.5, 1.5),
    (partial(one_of, "a", "b"), "b", "b"),
    (partial(array, integer(1, 3), 2), [], []),
    (partial(array, integer(1, 3), 2), [1.0, 2], [1, 2]),
    (partial(array, integer(1, 3), 2, min_items=1), [3], [3]),
    (names, {}, {}),
    (names, {"name": "x"}, {"name": "x"}),
    (names, {"name": None, "other": None}, {}),
    (partial(names, null_means={"name": "inf"}), {"name": None, "other": None}, {"name": "inf"}),
    (partial(names, null_means={"name": "inf"}), {}, {}),
    (partial(names, required=("name",)), {"name": "x"}, {"name": "x"}),
    (partial(free_object, 30), {"a": [1]}, {"a": [1]}),
]


@pytest.mark.parametrize(("make", "value", "kept"), TAKEN)
def test_what_is_within_its_bounds_is_kept(make: Make, value: Any, kept: Any) -> None:
    """The bounds themselves are; null is as if nothing had been sent, unless it means something."""
    found = make()(value, "x")
    assert (found, type(found)) == (kept, type(kept))


REFUSED: list[tuple[Make, Any, str, str]] = [
    (partial(text, 3), 1, "invalid_type", "'x' must be a string, but it is an integer."),
    (partial(text, 3, min_bytes=1), "", "invalid_value", "'x' must not be empty."),
    (partial(text, 3), "abcd", "string_above_max_length", "'x' is 4 bytes long; at most 3 are allowed."),
    (partial(text, 9, pattern="[a-z]+", means="letters"), "a b", "invalid_value", "'x' must consist of letters."),
    (lambda: boolean, 1, "invalid_type", "'x' must be a boolean, but it is an integer."),
    (partial(integer, 1, 3), 0, "invalid_value", "'x' must be from 1 to 3, but it is 0."),
    (partial(integer, 1, 3), 4.0, "invalid_value", "'x' must be from 1 to 3, but it is 4."),
    (partial(integer, 1, 3), 1.5, "invalid_type", "'x' must be an integer, but it is a number."),
    (partial(number, 0.25, 1.5), 0.2, "invalid_value", "'x' must be from 0.25 to 1.5, but it is 0.2."),
    (partial(number, 0.25, 1.5), 1.6, "invalid_value", "'x' must be from 0.25 to 1.5, but it is 1.6."),
    (partial(number, 0.25, 1.5), True, "invalid_type", "'x' must be a number, but it is a boolean."),
    (partial(number, 0.25, 1.5), "1", "invalid_type", "'x' must be a number, but it is a string."),
    (partial(one_of, "a"), "b", "invalid_value", "'x' must be 'a', but it is 'b'."),
    (partial(one_of, "a", "b"), "c", "invalid_value", "'x' must be one of 'a', 'b', but it is 'c'."),
    (partial(one_of, "a", "b"), ["a"], "invalid_type", "'x' must be a string, but it is an array."),
    (partial(array, integer(1, 3), 2), {}, "invalid_type", "'x' must be an array, but it is an object."),
    (partial(array, integer(1, 3), 2), [1] * 3, "invalid_value", "'x' has 3 entries; 0 to 2 are allowed."),
    (partial(array, integer(1, 3), 2, min_items=1), [], "invalid_value", "'x' has 0 entries; 1 to 2 are allowed."),
    (partial(array, integer(1, 3), 2), [1, 4], "invalid_value", "'x[1]' must be from 1 to 3, but it is 4."),
    (names, [], "invalid_type", "'x' must be an object, but it is an array."),
    (names, {"name": 1}, "invalid_type", "'x.name' must be a string, but it is an integer."),
    (names, {"nam": 1}, "unknown_parameter", "Unknown parameter: 'x.nam'. Known fields: name."),
    (partial(names, hints={"nam": "It has an e."}), {"nam": 1}, "unknown_parameter", "'x.nam'. It has an e."),
    (partial(names, hints={"nam": "It has an e."}), {"n": 1}, "unknown_parameter", "'x.n'. Known fields: name."),
    (partial(names, required=("name",)), {}, "missing_required_parameter", "'x.name' is required."),
    (partial(names, required=("name",)), {"name": None}, "missing_required_parameter", "'x.name' is required."),
    (names, {"n" * 64: 1}, "unknown_parameter", f"'x.{'n' * 64}'"),
    (names, {"n" * 65: 1}, "unknown_parameter", f"'x.{'n' * 61}...'"),
    (partial(free_object, 30), [], "invalid_type", "'x' must be an object, but it is an array."),
    (partial(free_object, 30), {"a": "x" * 30}, "invalid_value", "'x' is larger than the allowed 30 bytes."),
]


@pytest.mark.parametrize(("make", "value", "code", "sentence"), REFUSED)
def test_what_is_not_within_its_bounds_is_refused_with_them(make: Make, value: Any, code: str, sentence: str) -> None:
    """The error names the field, what is wrong with it and what is allowed."""
    with pytest.raises(ProtocolError) as caught:
        make()(value, "x")
    assert caught.value.code == code
    assert sentence in caught.value.message


def test_a_long_string_is_repeated_by_its_beginning() -> None:
    """So that no error is as long as what it is about."""
    assert shown("y" * 64) == f"'{'y' * 64}'"
    assert shown("y" * 65) == f"'{'y' * 61}...'"
