"""`make mutants` changes what it says, notices what tests notice, and its list of survivors is that of the code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.mutants import trial
from tests.mutants.__main__ import choose
from tests.mutants.baseline import LEFT_OUT, MOST_S, MUTATED, PARTS, Baseline
from tests.mutants.journal import Journal, explained
from tests.mutants.mutations import mutants_of
from tests.mutants.patching import ROOT, patch
from tests.mutants.trial import Answer, Job

CHANGES = [
    ("if a < b: f()", {"a < b -> <=", "not (a < b)", "drop f()"}),
    ("while a == b: c += 1", {"a == b -> !=", "drop c += 1", "1 -> 2"}),
    ("return a and not b", {"a and (not b) without a", "a and (not b) without not b", "not b -> b"}),
    ("await f(a + 2)", {"drop await f(a + 2)", "a + 2 -> -", "2 -> 3"}),
    ("self.x = min(a, b)", {"drop self.x = min(a, b)", "min(a, b) -> max"}),
    ("x = [c for c in d if c]", {"not (c)"}),
    ("x = 1 if a else True", {"not (a)", "1 -> 2", "True -> False"}),
    ("async with a, b(c): f()", {"without a, b(c)", "drop f()"}),
    ("with a as b: raise c", {"drop raise c"}),
    ("match a:\n        case 0 if b:\n            return", {"not (b)", "drop return"}),
    ("assert a < b", set()),
    ('log.info("a", b=a < b)', set()),
    ('x = f"{a < b}"', set()),
    ("x = zip(a, b, strict=True)", set()),
]


@pytest.mark.parametrize(("body", "changes"), CHANGES, ids=[body for body, _ in CHANGES])
def test_every_kind_of_change_is_made(body: str, changes: set[str]) -> None:
    """And each of them is code."""
    source = f"async def function(self, a, b):\n    {body}\n".encode()
    found = mutants_of("file.py", source)
    assert {mutant.change for mutant in found} == changes
    for mutant in found:
        assert mutant.apply(source) != source
        compile(mutant.apply(source), "file.py", "exec")


def test_a_function_that_returns_nothing_may_do_nothing() -> None:
    """All of its body goes at once; its docstring and the functions beside it stay."""
    head, tail = b'class C:\n    def f(self) -> None:\n        "Text."\n        ', b"\n\n    x: int = 1\n"
    source = head + b"self.a()\n        self.b(\n        )" + tail
    found = {mutant.key: mutant for mutant in mutants_of("file.py", source)}
    put = found["file.py::C.f | do nothing"].apply(source)
    assert put == head + b"return" + tail
    assert found["file.py::C | 1 -> 2"].lines == (1, 8)


def test_mutants_are_told_apart_by_what_they_change_and_not_by_its_line() -> None:
    """So an explained survivor is one still when something above it changes."""
    source = b"def f():\n    a(1)\n    a(1)\n"
    keys = {mutant.key for mutant in mutants_of("file.py", source)}
    assert "file.py::f | drop a(1) | 2" in keys
    assert keys == {mutant.key for mutant in mutants_of("file.py", b"\n\n" + source)}


ALTERNATING = "test_places_that_alternate_cost_a_number_each"
SHORT = "test_a_rank_at_an_end_or_at_one_place_stays_short"
PLANTED = b"""
import functools
from contextlib import contextmanager
from dataclasses import dataclass

def plain(): return 1
def default(x=1): return x
@contextmanager
def managed(): yield 1

@dataclass(slots=True)
class Data:
    x: int = 1
    @property
    def double(self): return 2 * self.x
    @staticmethod
    def alone(): return 1

class More:
    @functools.cached_property
    def kept(self): return 1
    def outer(self):
        return (lambda: 1)()
"""


def test_what_was_imported_does_what_the_changed_source_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions, methods, properties, defaults: wherever somebody has got hold of them."""
    module: Any = ModuleType("planted")
    monkeypatch.setitem(sys.modules, "planted", module)
    exec(PLANTED, module.__dict__)  # noqa: S102 - the text above
    plain, managed, data, more = module.plain, module.managed, module.Data, module.More

    def seen() -> list[int]:
        with managed() as inside:
            made = data()
            return [plain(), module.default(), inside, made.x, made.double, made.alone(), more().kept, more().outer()]

    assert seen() == [1, 1, 1, 1, 2, 1, 1, 1]
    assert patch("planted.py", PLANTED) == 0
    assert patch("planted.py", PLANTED.replace(b"1", b"3").replace(b"2", b"4")) == 8
    assert seen() == [3, 3, 3, 3, 12, 3, 3, 3]


def test_a_method_that_leaves_its_base_alone_is_changed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it refers to less than it did."""
    module: Any = ModuleType("planted")
    monkeypatch.setitem(sys.modules, "planted", module)
    source = (
        b"class Heir(list):\n    def append(self, x):\n        y = x\n        super().append(y)\n        return y\n"
    )
    exec(source, module.__dict__)  # noqa: S102 - the text above
    heir = module.Heir()
    assert patch("planted.py", source.replace(b"super().append(y)", b"pass")) == 1
    assert (heir.append(1), heir) == (1, [])


def test_a_mutant_dies_by_the_test_that_notices_it_and_lives_without() -> None:
    """One process has the tests ready and tries several mutants; none leaves anything behind."""
    key = "app/voice_agent/call/fractional_index.py::rank_between | drop kept.append(low)"
    noticing, other = (f"tests/call/test_fractional_index.py::{name}" for name in (ALTERNATING, SHORT))
    file = key.partition("::")[0]
    jobs = [Job(file, key, dict.fromkeys(tests, 1.0)) for tests in ([other], [other, noticing], [other])]
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutants.trial", "tests/call/test_fractional_index.py"],
        input="".join(json.dumps(asdict(job)) + "\n" for job in jobs),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
    )
    answers = [Answer(**json.loads(line)) for line in done.stdout.splitlines()]
    assert answers == [Answer("survived"), Answer("killed", noticing), Answer("survived")]


def test_a_test_that_takes_far_too_long_is_told_to_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name, and no sooner than the time it may take."""
    monkeypatch.setattr(trial, "GRACE_S", 0.01)
    reader, writer = os.pipe()
    os.write(writer, b"begins quick\nbegins slow\n")
    told = list(trial._lines(reader, Job("file.py", "key", {"slow": 0.001})))
    os.close(reader)
    os.close(writer)
    assert told == [("begins", "quick"), ("begins", "slow"), ("hung", "slow")]


def test_the_tests_of_a_file_are_tried_before_those_that_only_run_it() -> None:
    """They are the ones that may notice; the quickest of them first, and no more than there is time for."""
    near, slow = "tests/runtime/engine/test_a.py::test_a", "tests/runtime/engine/test_a.py::test_b"
    far, farther = "tests/runtime/pod/test_p.py::test_p", "tests/call/test_c.py::test_c"
    seconds = {farther: 0.1, far: 0.1, slow: MOST_S - 1, near: 1.0}
    file = "app/voice_agent/runtime/engine/agent_run.py"
    [mutant] = choose("agent_run.py::AgentRun.set_timer | do nothing", None, 0)
    lines = {str(line): sorted(seconds) for line in range(mutant.lines[0], mutant.lines[1] + 1)}
    baseline = Baseline([{"passed": seconds, "failed": [], "lines": {file: lines}}])
    assert list(baseline.tests_of(mutant)) == [near, slow]
    baseline.seconds[slow] = 2.0
    assert list(baseline.tests_of(mutant)) == [near, slow, far, farther]


def test_what_was_tried_is_not_tried_again_until_it_may_end_otherwise(tmp_path: Path) -> None:
    """A mutant that died stays dead while its file is the same; one that survived is tried on tests that changed."""
    dead, alive, new = choose("app/voice_agent/call/fractional_index.py", None, 0)[:3]
    journal = Journal(tmp_path / "journal", "tests of one day")
    journal.note(dead, "killed", "a test", 1.0)
    journal.note(alive, "survived", "", 1.0)
    for tests, known in (("tests of one day", True), ("tests of another", False)):
        again = Journal(tmp_path / "journal", tests)
        found = again.known(dead)
        assert found is not None
        assert found.by == "a test"
        assert (again.known(alive) is not None) is known
        assert again.known(new) is None


def test_a_sample_is_the_same_for_the_same_seed() -> None:
    """So a run that was stopped goes on with it."""
    assert choose("", 20, 1) == choose("", 20, 1) != choose("", 20, 2)


def test_survivors_that_are_explained_are_in_the_code() -> None:
    """A change that cannot be made any more needs no explanation; a reason is a sentence."""
    keys = {mutant.key for mutant in choose("", None, 0)}
    reasons = explained()
    assert reasons.keys() - keys == set()
    assert [key for key, why in reasons.items() if len(why.split()) < 4] == []


@pytest.mark.parametrize("path", [*MUTATED, *PARTS, *LEFT_OUT])
def test_what_is_mutated_and_what_judges_it_exists(path: str) -> None:
    """A file that is moved takes its line along."""
    assert (ROOT / path).exists()
