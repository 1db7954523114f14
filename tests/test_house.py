"""Files and functions are of a size that can be read, and who imports whom is drawn."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import pytest

from tests.house import imports, rules
from tests.house.__main__ import main
from tests.house.measures import Measures, Size, measure


def written(folder: Path, source: str) -> Measures:
    """What a file measures."""
    (folder / "part.py").write_text(textwrap.dedent(source))
    return measure(folder, folder)


def test_everything_is_as_small_as_the_rules_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files, functions, parameters and classes, but for those with a reason, each of which is needed; as JSON.

    Only the settings read the environment: whatever else wants to know something is told.
    """
    monkeypatch.setattr(sys, "argv", ["house", "--json"])
    monkeypatch.setattr("tests.house.__main__.TESTS", Path(__file__).with_name("house"))  # To count all takes long.
    status = main()
    told = json.loads(capsys.readouterr().out)
    assert told["findings"] == []
    assert status == 0
    assert told["function_p99"] <= rules.FUNCTION_P99_LINES
    assert told["environment"] == ["app/voice_agent/settings.py"]


def test_only_lines_of_code_count(tmp_path: Path) -> None:
    """No comment, no docstring, no blank line; a text of several lines that is a value does."""
    found = written(
        tmp_path,
        '''
        """Words."""

        # more words
        VALUE = """one
        two"""


        class Thing:
            """Words."""

            kind: str = ""

            def act(self, first: int, *, second: int) -> int:
                """Words
                on two lines.
                """
                self.first = first  # the last word

                return first + second
        ''',
    )
    assert found.files == [Size("part.py", 7)]
    assert found.functions == [Size("part.py::Thing.act", 3)]
    assert found.parameters == [Size("part.py::Thing.act", 2)]
    assert found.methods == [Size("part.py::Thing", 1)]
    assert found.attributes == [Size("part.py::Thing", 2)]
    assert found.environment == []


@pytest.mark.parametrize(
    "line",
    ["import os; os.environ['A']", "import os; os.getenv('A')", "from os import environ", "from os import getenv"],
)
def test_who_reads_the_environment_is_found(tmp_path: Path, line: str) -> None:
    """In each of the ways there are."""
    assert written(tmp_path, line).environment == ["part.py"]


def test_what_is_too_large_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """By one line; an exception lets it pass up to its own bound, and one that is not needed is found too."""
    large = Measures(
        files=[Size("a.py", rules.FILE_LINES + 1), Size("b.py", rules.FILE_LINES)],
        functions=[Size("a.py::f", rules.FUNCTION_LINES + 1)],
        parameters=[Size("a.py::f", rules.PARAMETERS + 1)],
        methods=[Size("a.py::C", rules.METHODS + 1), Size("a.py::D", rules.METHODS)],
        attributes=[Size("a.py::E", rules.ATTRIBUTES + 1), Size("a.py::D", rules.ATTRIBUTES)],
    )
    for name in ("FILES", "FUNCTIONS", "PARAMETER_LISTS", "METHOD_LISTS", "ATTRIBUTE_LISTS"):
        monkeypatch.setattr(rules, name, {})
    rest = ["a.py::f", "a.py::f", "a.py::C", "a.py::E", "app"]
    assert [finding.place for finding in rules.judge(large)] == ["a.py", *rest]
    monkeypatch.setattr(rules, "FILES", {"a.py": rules.Allowed(rules.FILE_LINES + 1, "a table")})
    assert [finding.place for finding in rules.judge(large)] == rest
    monkeypatch.setattr(rules, "FILES", {"a.py": rules.Allowed(9999, ""), "b.py": rules.Allowed(9999, "")})
    assert [finding.place for finding in rules.judge(large)] == ["b.py", *rest]


def test_an_arrow_that_a_longer_way_says_too_is_not_drawn() -> None:
    """What is left is the shortest drawing that says the same."""
    graph = {"a": frozenset("bcd"), "b": frozenset("c"), "c": frozenset("d"), "d": frozenset[str]()}
    less = imports.reduced(graph)
    assert less == {"a": frozenset("b"), "b": frozenset("c"), "c": frozenset("d"), "d": frozenset()}
    assert imports.mermaid(less).splitlines()[2:4] == ["    a[a] --> b[b]", "    b[b] --> c[c]"]
