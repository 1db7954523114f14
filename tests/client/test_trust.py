"""Whose certificates tools believe."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.tls import make_certificate, needs_openssl
from voice_agent.client.trust import verification
from voice_agent.errors import SettingsError


@needs_openssl
def test_an_own_certificate_is_believed_by_whatever_name_its_server_is_reached(tmp_path: Path) -> None:
    """It, and what it was signed with; nothing else."""
    certificate, _ = make_certificate(tmp_path)
    context = verification("https://127.0.0.1:1", own=certificate)
    assert isinstance(context, ssl.SSLContext)
    assert (context.check_hostname, context.verify_mode) == (False, ssl.CERT_REQUIRED)
    assert len(context.get_ca_certs()) == 1


def test_elsewhere_names_are_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the authorities of the system; plain HTTP needs none."""
    context = verification("https://voice.example.com")
    assert isinstance(context, ssl.SSLContext)
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert verification("http://voice.example.com") is True


def test_a_certificate_that_is_gone_is_told(tmp_path: Path) -> None:
    """In one line."""
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        verification("https://127.0.0.1:1", own=tmp_path / "gone")
