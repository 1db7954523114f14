"""What a webhook may be set to; the rest is refused before the server starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.agents.tools.test_signing import SECRET
from voice_agent.agents.tools.webhook_settings import WebhookSettings

PLAIN = {"name": "book", "url": "https://tables.test/book", "secret": SECRET}


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://tables.test/"},
        {"url": "file:///etc/passwd"},
        {"url": "https://"},
        {"url": "https://user:word@tables.test/"},
        {"url": "https://tables.test/#part"},
        {"verify_url": "tables.test"},
        {"name": "book a table"},
        {"secret": "whsec_short"},
        {"secret": None},
        {"secret_file": "/nowhere"},
        {"secret": None, "secret_file": "/nowhere"},
        {"parameters": {"type": "array"}},
        {"headers": {"Webhook-Id": "x"}},
        {"headers": {"Host": "evil.test"}},
        {"headers": {"Content-Length": "0"}},
        {"headers": {"X Y": "x"}},
        {"headers": {"X": "a\r\nHost: evil.test"}},
        {"timeout_s": 26},
        {"retries": -1},
        {"says_after_ms": -1},
        {"retry": 3},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    """With a name, and without the secret."""
    with pytest.raises(ValidationError) as raised:
        WebhookSettings.model_validate({**PLAIN, **wrong})
    told = str(raised.value.errors(include_input=False))
    assert SECRET not in told


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    """With a line end behind it, and two of them while one is replaced."""
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n{SECRET}\n")
    settings = WebhookSettings.model_validate({**PLAIN, "secret": None, "secret_file": file})
    assert settings.signer().headers("a", 1, b"")["webhook-signature"].count("v1,") == 2


def test_no_secret_is_shown() -> None:
    """Neither that of the signature nor that of a header."""
    shown = repr(WebhookSettings.model_validate({**PLAIN, "headers": {"Authorization": "Bearer hidden"}}))
    assert SECRET not in shown
    assert "hidden" not in shown


@pytest.mark.parametrize("wrong", [{"secret_file": "/nowhere"}, {"retry": 3}, {"headers": {"Host": "a"}}])
def test_what_is_refused_repeats_no_secret(wrong: dict[str, Any]) -> None:
    """Whichever setting it is that is wrong."""
    with pytest.raises(ValidationError) as refused:
        WebhookSettings(**{"secret": SECRET, **PLAIN, **wrong})
    assert SECRET[:12] not in str(refused.value)
