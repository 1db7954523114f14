"""Only `machine.step` changes a call."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.house.measures import APP
from tests.house.writers import rules_of, writers

RULES = rules_of(APP / "voice_agent" / "call")
OTHERS = frozenset({"call", "agents", "client", "operate", "providers", "rehearse"})
"""The rules themselves; and folders in which a call is an agent's, a client's end of one, or one of a function."""


def test_nothing_outside_the_rules_changes_a_call() -> None:
    """Whatever happens to a call is an input: else a recorded list of inputs would be no replay."""
    outside = [file for file in APP.rglob("*.py") if file.relative_to(APP / "voice_agent").parts[0] not in OTHERS]
    assert len(outside) > 100
    assert [str(finding) for file in sorted(outside) for finding in writers(file, RULES)] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("live.call.record.write_whole = True", "assigns to live.call.record.write_whole"),
        ("self._call.input_audio.position += 2", "assigns to self._call.input_audio.position"),
        ('call.session.fields["voice"] = "ash"', "assigns to call.session.fields['voice']"),
        ("a, call.outbox.seq = 1, 2", "assigns to call.outbox.seq"),
        ("del call.client_events.seen[name]", "assigns to call.client_events.seen[name]"),
        ('setattr(live.call, "seq", 3)', "sets an attribute of live.call"),
        ("call.owner.go_on_under(2, name)", "calls call.owner.go_on_under"),
        ("call.client_events.recognises(name)", "calls call.client_events.recognises"),
        ("call.outbox.clear()", "calls call.outbox.clear"),
        ("live.call.record.dirty.add(name)", "calls live.call.record.dirty.add"),
        ("from voice_agent.call.writes import take_write", "imports take_write"),
        ("input_audio.flush(call)", "calls input_audio.flush"),
        ("lifecycle.attach(call, made, 0)", "calls lifecycle.attach"),
    ],
)
def test_a_planted_change_is_found(tmp_path: Path, source: str, found: str) -> None:
    """A field, what a field holds, a method, a function of the rules."""
    file = tmp_path / "part.py"
    file.write_text(source)
    assert [finding.words for finding in writers(file, RULES)] == [found]


def test_to_read_is_no_change(tmp_path: Path) -> None:
    """Nor is it one to keep a call, to make one, or to give it an input."""
    file = tmp_path / "part.py"
    file.write_text(
        textwrap.dedent(
            """
            from voice_agent.call.machine import is_quiet, step
            self.call = begin(made)
            by_id[call.call_id] = live
            effects = machine.step(call, event, now_ms)
            newest = call.outbox.after(call.outbox.seq)
            """
        )
    )
    assert list(writers(file, RULES)) == []
