"""The contract of webhooks finds what is wrong with one, and lets that of the document pass.

Of `webhook_contract`, `webhook_probe` and `try_webhook`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.agents.tools.documented import WebhookProcess, webhook
from tests.agents.tools.test_signing import SECRET
from voice_agent.testing import WebhookContract, try_webhook

SOME = 41
"""Of so many bytes one, where all would take too long."""


def contract_of(running: WebhookProcess, *, every: int = SOME) -> WebhookContract:
    """Of a webhook that runs."""

    class Contract(WebhookContract):
        url = running.url
        verify_url = running.url
        secret = SECRET
        arguments = {"people": 4}  # noqa: RUF012 as authors write it

        def count(self) -> int:
            return running.count()

        def restart(self) -> None:
            running.kill()
            running.start()

    made = Contract()
    made.every = every
    return made


PROMISES = sorted(name for name in dir(WebhookContract) if name.startswith("test_"))
FORGETS = ("if (found := booked(key, db)) is not None:", "if False:")
IN_MEMORY = ('DATABASE = os.environ["WEBHOOK_DATABASE"]', 'DATABASE = os.environ["WEBHOOK_DATABASE"]\nKNOWN = {}')
NOTES_LATE = """arguments["people"]))
        self.wfile.flush()
        time.sleep(0.2)
        KNOWN[self.headers["webhook-id"]] = {"table": 1}
"""
COUNTS = """
import sqlite3, sys
print(sqlite3.connect(sys.argv[1]).execute("SELECT count(*) FROM booked").fetchone()[0])
"""
WRONG: dict[str, tuple[tuple[tuple[str, str], ...], str, str]] = {
    "forgets its keys": (
        (FORGETS, ("key TEXT PRIMARY KEY", "key TEXT")),
        "twice_under_one_key",
        "twice under one key: 2 effects",
    ),
    "forgets them when it is started again": (
        (
            IN_MEMORY,
            ("if (found := booked(key, db)) is not None:", "if (found := KNOWN.get(key)) is not None:"),
            ('        db.execute("COMMIT")', '        db.execute("COMMIT")\n        KNOWN[key] = {"table": table}'),
            ("key TEXT PRIMARY KEY", "key TEXT"),
        ),
        "started_again",
        "started again in between: 2 effects",
    ),
    "notes its keys when it has answered": (
        (
            IN_MEMORY,
            ("if (found := booked(key, db)) is not None:", "if (found := KNOWN.get(key)) is not None:"),
            ('arguments["people"]))\n', NOTES_LATE),
            ("key TEXT PRIMARY KEY", "key TEXT"),
        ),
        "byte_of_its_answer",
        r"of the answer: 2 effects",
    ),
    "does two at a time": (
        (
            ('db.execute("BEGIN IMMEDIATE")', "pass"),
            ('        db.execute("COMMIT")\n', ""),
            ("        table = db", "        import time\n        time.sleep(0.5)\n        table = db"),
            ("key TEXT PRIMARY KEY", "key TEXT"),
        ),
        "at_the_same_time",
        "5 times at once under one key: . effects",
    ),
    "takes whatever comes": (
        (("    return bool(key) and any(", "    return True or any("),),
        "not_signed_by_the_server",
        "another secret: it answers 200",
    ),
    "takes what is old": ((("> 300", "> 10**9"),), "signed_long_ago", "an hour ago: it answers 200"),
    "takes the header that is not signed": (
        (('book(self.headers["webhook-id"]', 'book(self.headers["idempotency-key"]'),),
        "sent_again_under_another_key",
        "another Idempotency-Key: 1 effects",
    ),
    "knows one signature": (
        (("any(hmac.compare_digest(expected, each) for each in given)", "given[:1] == [expected]"),),
        "several_signatures",
        "it answers 401",
    ),
    "verifies nothing": (
        (('if found is None else {"status": "done", "result": found}', ""),),
        "what_became_of_a_key",
        "whose effect is there it tells",
    ),
    "tells everybody": (
        (('if not is_signed(self.headers, b"") or key', "if key"),),
        "what_became_of_a_key",
        "who has another secret",
    ),
}


@pytest.mark.parametrize("promise", PROMISES)
async def test_the_webhook_of_the_document_keeps_it(promise: str, tmp_path: Path) -> None:
    """Each promise by itself."""
    with webhook(tmp_path) as running:
        await getattr(contract_of(running), promise)()


@pytest.mark.slow
async def test_it_keeps_it_at_every_byte(tmp_path: Path) -> None:
    """Of a request and of an answer."""
    with webhook(tmp_path) as running:
        contract = contract_of(running, every=1)
        await contract.test_a_connection_that_breaks_at_any_byte_of_its_answer_makes_no_second_effect()
        await contract.test_a_connection_that_breaks_at_any_byte_of_a_request_makes_no_second_effect()


@pytest.mark.parametrize("wrong", WRONG)
async def test_what_is_wrong_with_a_webhook_is_found(wrong: str, tmp_path: Path) -> None:
    """By the promise that it breaks."""
    changes, promise, told = WRONG[wrong]
    [name] = [each for each in PROMISES if promise in each]
    with webhook(tmp_path, *changes) as running, pytest.raises((AssertionError, RuntimeError), match=told):
        await getattr(contract_of(running), name)()


def test_the_command_tells_which_promise_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And how; its own status says that one is."""
    (tmp_path / "secret").write_text(SECRET)
    with webhook(tmp_path, ("> 300", "> 10**9")) as running:
        (tmp_path / "count.py").write_text(COUNTS)
        count = f"{sys.executable} {tmp_path}/count.py {tmp_path}/tables.db"
        line = ["try", running.url, "--secret-file", str(tmp_path / "secret"), "--count", count, "--every", "200"]
        monkeypatch.setattr(sys, "argv", [*line, "--arguments", '{"people": 2}'])
        assert try_webhook.main() == 1
    told = capsys.readouterr().out.splitlines()
    assert [line for line in told if line.startswith("BROKEN")] == ["BROKEN  what was signed long ago is refused"]
    assert "signed an hour ago: it answers 200" in "".join(told)
