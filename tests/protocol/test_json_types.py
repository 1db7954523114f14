"""What fields are made of, and what `validation` says of them, where the session and the items do not show it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Required

import orjson
import pytest
from pydantic import TypeAdapter, create_model
from typing_extensions import TypedDict

from voice_agent.errors import ProtocolError
from voice_agent.protocol.client_events import STRICT
from voice_agent.protocol.json_types import (
    MAX_DEPTH,
    Fields,
    entries,
    free_json,
    free_object,
    number,
    shown,
    text,
    too_large,
    whole,
)
from voice_agent.protocol.validation import validated, wrong_type


def check(annotation: Any, value: Any) -> Any:
    """What is kept of a value that is found at `x`."""
    holder = create_model("holder", __config__=STRICT, x=(annotation, ...))
    return validated(TypeAdapter(holder), {"x": value}).x


class Name(TypedDict, total=False):
    name: Annotated[str, text(5)]


class Named(TypedDict, total=False):
    name: Required[Annotated[str, text(5)]]


def texts(max_bytes: int, **more: Any) -> Any:
    """A string."""
    return Annotated[str, text(max_bytes, **more)]


NAME = Annotated[Name, Fields()]
ANY_NAME = Annotated[Name, Fields(null_means={"name": "inf"})]
NAMED = Annotated[Named, Fields()]
HINTED = Annotated[Name, Fields(hints={"nam": "It has an e."})]
ONE_TO_THREE = Annotated[int, whole(1, 3)]
SPEED = Annotated[float, number(0.25, 1.5)]
UP_TO_TWO = Annotated[list[ONE_TO_THREE], entries(0, 2)]
ONE_OR_TWO = Annotated[list[ONE_TO_THREE], entries(1, 2)]
FREE = Annotated[dict[str, Any], free_object(30)]


def nested(depth: int) -> Any:
    """A value inside so many arrays."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_free_json_is_bounded_in_depth() -> None:
    """The deepest value that passes can be written as JSON again; one level more is refused."""
    free = Annotated[Any, free_json(10_000)]
    orjson.dumps(check(free, nested(MAX_DEPTH - 1)))
    with pytest.raises(ProtocolError, match=f"nests deeper than {MAX_DEPTH} levels"):
        check(free, nested(MAX_DEPTH))


@pytest.mark.parametrize(
    ("value", "size"),
    [("x" * 92, 100), (["x"] * 10, 98), ({"é" * 20: None}, 56), ([{"a": "b"}, 1], 34), ([[], {}], 24)],
)
def test_free_json_is_bounded_in_size(value: Any, size: int) -> None:
    """Texts count by their bytes, every value for eight more; the bound itself is allowed, and nothing below it."""
    assert not too_large(value, size)
    for less in range(size):
        assert too_large(value, less) == f"is larger than the allowed {less} bytes"


def test_what_is_too_large_is_not_counted_to_its_end() -> None:
    """Its size is what is wrong with it, however many values it holds."""
    assert too_large([1, 2, 3], 10, 1) == "is larger than the allowed 10 bytes"


def test_a_whole_float_is_an_integer() -> None:
    """JavaScript writes 500.0 as 500 or not; both are the integer, and infinity is none."""
    integer = Annotated[int, whole(0, 1000)]
    assert check(integer, 500.0) == 500
    assert isinstance(check(integer, 500.0), int)
    for wrong in (0.5, float("inf"), float("nan"), True, "5", None):
        with pytest.raises(ProtocolError):
            check(integer, wrong)


def test_not_a_number_is_out_of_bounds() -> None:
    """NaN is within no bounds."""
    with pytest.raises(ProtocolError):
        check(Annotated[float, number(0, 1)], float("nan"))


def test_a_pattern_must_match_to_the_end() -> None:
    """A line break behind a good name does not pass."""
    with pytest.raises(ProtocolError, match="must consist of letters"):
        check(Annotated[str, text(10, pattern="[a-z]+", means="letters")], "abc\n")


def test_fields_of_a_message_have_plain_paths() -> None:
    """At the top of a message the path is the field's name alone."""
    with pytest.raises(ProtocolError) as caught:
        validated(TypeAdapter(Annotated[Named, Fields()]), {})
    assert caught.value.param == "name"


def test_free_json_is_bounded_in_values() -> None:
    """However they nest; the bound itself is allowed."""
    free = Annotated[Any, free_json(10_000, 10)]
    value: dict[str, Any] = {"a": [1, 2, 3], "b": {"c": [[], {}]}, "d": None}
    assert check(free, value) is value
    value["e"] = 0
    with pytest.raises(ProtocolError, match="10 values"):
        check(free, value)


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
    assert check(Annotated[str, text(12)], value) == value
    with pytest.raises(ProtocolError, match=f"is {len(value.encode())} bytes long; at most 10 are allowed"):
        check(Annotated[str, text(10)], value)


TAKEN: list[tuple[Any, Any, Any]] = [
    (texts(3), "", ""),
    (texts(3), "abc", "abc"),
    (texts(3, min_bytes=2), "ab", "ab"),
    (texts(3, pattern="[a-z]+", means="letters"), "abc", "abc"),
    (bool, False, False),
    (ONE_TO_THREE, 1, 1),
    (ONE_TO_THREE, 3, 3),
    (SPEED, 0.25, 0.25),
    (SPEED, 1, 1),
    (SPEED, 1.5, 1.5),
    (Literal["a", "b"], "b", "b"),
    (UP_TO_TWO, [], []),
    (UP_TO_TWO, [1.0, 2], [1, 2]),
    (ONE_OR_TWO, [3], [3]),
    (NAME, {}, {}),
    (NAME, {"name": "x"}, {"name": "x"}),
    (NAME, {"name": None, "other": None}, {}),
    (ANY_NAME, {"name": None, "other": None}, {"name": "inf"}),
    (ANY_NAME, {}, {}),
    (NAMED, {"name": "x"}, {"name": "x"}),
    (FREE, {"a": [1]}, {"a": [1]}),
]


@pytest.mark.parametrize(("annotation", "value", "kept"), TAKEN)
def test_what_is_within_its_bounds_is_kept(annotation: Any, value: Any, kept: Any) -> None:
    """The bounds themselves are; null is as if nothing had been sent, unless it means something."""
    found = check(annotation, value)
    assert (found, type(found)) == (kept, type(kept))


REFUSED: list[tuple[Any, Any, str, str]] = [
    (texts(3), 1, "invalid_type", "'x' must be a string, but it is an integer."),
    (texts(3, min_bytes=1), "", "invalid_value", "'x' must not be empty."),
    (texts(3), "abcd", "string_above_max_length", "'x' is 4 bytes long; at most 3 are allowed."),
    (texts(9, pattern="[a-z]+", means="letters"), "a b", "invalid_value", "'x' must consist of letters."),
    (bool, 1, "invalid_type", "'x' must be a boolean, but it is an integer."),
    (ONE_TO_THREE, 0, "invalid_value", "'x' must be from 1 to 3, but it is 0."),
    (ONE_TO_THREE, 4.0, "invalid_value", "'x' must be from 1 to 3, but it is 4."),
    (ONE_TO_THREE, 1.5, "invalid_type", "'x' must be an integer, but it is a number."),
    (SPEED, 0.2, "invalid_value", "'x' must be from 0.25 to 1.5, but it is 0.2."),
    (SPEED, 1.6, "invalid_value", "'x' must be from 0.25 to 1.5, but it is 1.6."),
    (SPEED, True, "invalid_type", "'x' must be a number, but it is a boolean."),
    (SPEED, "1", "invalid_type", "'x' must be a number, but it is a string."),
    (Literal["a"], "b", "invalid_value", "'x' must be 'a', but it is 'b'."),
    (Literal["a", "b"], "c", "invalid_value", "'x' must be one of 'a', 'b', but it is 'c'."),
    (Literal["a", "b"], ["a"], "invalid_type", "'x' must be a string, but it is an array."),
    (UP_TO_TWO, {}, "invalid_type", "'x' must be an array, but it is an object."),
    (UP_TO_TWO, [1] * 3, "invalid_value", "'x' has 3 entries; 0 to 2 are allowed."),
    (ONE_OR_TWO, [], "invalid_value", "'x' has 0 entries; 1 to 2 are allowed."),
    (UP_TO_TWO, [1, 4], "invalid_value", "'x[1]' must be from 1 to 3, but it is 4."),
    (NAME, [], "invalid_type", "'x' must be an object, but it is an array."),
    (NAME, {"name": 1}, "invalid_type", "'x.name' must be a string, but it is an integer."),
    (NAME, {"nam": 1}, "unknown_parameter", "Unknown parameter: 'x.nam'. Known fields: name."),
    (HINTED, {"nam": 1}, "unknown_parameter", "'x.nam'. It has an e."),
    (HINTED, {"n": 1}, "unknown_parameter", "'x.n'. Known fields: name."),
    (NAMED, {}, "missing_required_parameter", "'x.name' is required."),
    (NAMED, {"name": None}, "missing_required_parameter", "'x.name' is required."),
    (NAME, {"n" * 64: 1}, "unknown_parameter", f"'x.{'n' * 64}'"),
    (NAME, {"n" * 65: 1}, "unknown_parameter", f"'x.{'n' * 61}...'"),
    (FREE, [], "invalid_type", "'x' must be an object, but it is an array."),
    (FREE, {"a": "x" * 30}, "invalid_value", "'x' is larger than the allowed 30 bytes."),
]


@pytest.mark.parametrize(("annotation", "value", "code", "sentence"), REFUSED)
def test_what_is_not_within_its_bounds_is_refused_with_them(
    annotation: Any, value: Any, code: str, sentence: str
) -> None:
    """The error names the field, what is wrong with it and what is allowed."""
    with pytest.raises(ProtocolError) as caught:
        check(annotation, value)
    assert caught.value.code == code
    assert sentence in caught.value.message


def test_a_long_string_is_repeated_by_its_beginning() -> None:
    """So that no error is as long as what it is about."""
    assert shown("y" * 64) == f"'{'y' * 64}'"
    assert shown("y" * 65) == f"'{'y' * 61}...'"


class Person(TypedDict, total=False):
    age: Annotated[int, whole(1, 3)]
    name: Required[Annotated[str, text(5)]]


def test_of_several_faults_what_is_missing_is_told_first() -> None:
    """Then what is wrong, then what is unknown, whatever their order in the message."""
    person = Annotated[Person, Fields()]
    for given, param in (
        ({"nam": 1, "age": 9}, "x.name"),
        ({"nam": 1, "age": 9, "name": "a"}, "x.age"),
        ({"nam": 1, "mane": 1, "name": "a"}, "x.nam"),
    ):
        with pytest.raises(ProtocolError) as caught:
            check(person, given)
        assert caught.value.param == param
