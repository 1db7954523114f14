"""A dataclass as the table of a command's options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from voice_agent.command_options import one_of, with_options


@dataclass(frozen=True, slots=True)
class Where:
    """A group."""

    url: Annotated[str, typer.Option(metavar="URL", help="Where calls go.")] = "ws://here"
    color: Annotated[str | None, typer.Option("--from", parser=one_of("blue", "green"), help="The color.")] = None


@dataclass(frozen=True, slots=True)
class How:
    """A table with a group in its midst."""

    model: Annotated[str, typer.Option(help="The agent.")]
    where: Where
    wait: Annotated[list[float] | None, typer.Option(help="Seconds.")] = None
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False


seen: list[How] = []


@with_options(How)
def command(given: How) -> None:
    """What the command does."""
    seen.append(given)


@pytest.fixture
def app() -> typer.Typer:
    """The command alone."""
    seen.clear()
    made = typer.Typer(rich_markup_mode=None)
    made.command()(command)
    return made


def test_what_is_not_given_has_the_tables_defaults(app: typer.Typer) -> None:
    """Also in a group."""
    assert CliRunner().invoke(app, ["--model", "echo"]).exit_code == 0
    assert seen == [How("echo", Where())]


def test_each_option_stands_where_its_field_does(app: typer.Typer) -> None:
    """By the field's name or its own, checked as typer does."""
    options = ["--from", "green", "--wait", "1", "--wait", "2.5", "--yes", "--model", "x", "--url", "ws://there"]
    assert CliRunner().invoke(app, options).exit_code == 0
    assert seen == [How("x", Where("ws://there", "green"), [1.0, 2.5], yes=True)]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "Missing option '--model'"),
        (["--model", "x", "--from", "red"], "'red' is none of: blue, green"),
        (["--model", "x", "--wait", "long"], "--wait"),
        (["--model", "x", "--where", "there"], "No such option: --where"),
    ],
)
def test_what_is_wrong_is_told_of_the_option(app: typer.Typer, options: list[str], told: str) -> None:
    """Nothing is done then."""
    result = CliRunner().invoke(app, options)
    assert (result.exit_code, seen) == (2, [])
    assert told in result.output


def test_help_shows_the_options_in_the_order_of_the_fields(app: typer.Typer) -> None:
    """Groups in their place, each option with its words, under what the command says of itself."""
    shown = CliRunner().invoke(app, ["--help"]).output
    places = [shown.index(word) for word in ("What the command does.", "--model", "--url URL", "--from", "--wait")]
    assert places == sorted(places)
    assert "Where calls go." in shown
