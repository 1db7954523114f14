"""A certificate is read at the start or told to be wrong in one line, and read again when its files change."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.tls import make_certificate, needs_openssl, trusting
from tests.waiting import until
from tests.web.rig import running
from voice_agent.errors import SettingsError
from voice_agent.settings import Settings, TlsFiles
from voice_agent.web import certificates
from voice_agent.web.certificates import Certificates

pytestmark = needs_openssl


@pytest.fixture
def pair(tmp_path: Path) -> TlsFiles:
    """A certificate and its key."""
    return TlsFiles(*made_in(tmp_path / "first"), "VOICE_")


def made_in(directory: Path) -> tuple[Path, Path]:
    """A new pair."""
    directory.mkdir()
    return make_certificate(directory)


def test_files_that_cannot_be_used_are_told_in_one_line(pair: TlsFiles, tmp_path: Path) -> None:
    """By the variable that names them, and what is wrong."""
    other, other_key = made_in(tmp_path / "other")
    junk, locked = tmp_path / "junk", tmp_path / "locked"
    junk.write_text("hello")
    command = ["openssl", "ec", "-aes128", "-passout", "pass:abcd", "-in", str(pair.key), "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    gone = tmp_path / "gone"
    for certificate, key, told in (
        (gone, pair.key, f"VOICE_TLS_CERT: cannot read '{gone}': No such file or directory."),
        (pair.certificate, tmp_path, f"VOICE_TLS_KEY: cannot read '{tmp_path}': Is a directory."),
        (junk, pair.key, f"VOICE_TLS_CERT: '{junk}' holds no certificate in PEM form."),
        (pair.certificate, junk, f"VOICE_TLS_KEY: '{junk}' holds no private key in PEM form that can be used."),
        (other, pair.key, f"VOICE_TLS_KEY: '{pair.key}' is not the key of the certificate in '{other}'."),
        (
            pair.certificate,
            locked,
            f"VOICE_TLS_KEY: '{locked}' has a passphrase, which nobody could type; take it off.",
        ),
    ):
        with pytest.raises(SettingsError) as wrong:
            Certificates(TlsFiles(certificate, key, "VOICE_"))
        assert str(wrong.value) == told
    Certificates(TlsFiles(other, other_key, "VOICE_"))


def test_one_of_the_two_settings_is_none(pair: TlsFiles) -> None:
    """Nobody finds out by a connection that it is plain."""
    with pytest.raises(SettingsError, match="VOICE_TLS_CERT is set and VOICE_TLS_KEY is not"):
        assert Settings(tls_cert=pair.certificate).tls
    with pytest.raises(SettingsError, match="VOICE_TLS_KEY is set and VOICE_TLS_CERT is not"):
        assert Settings(tls_key=pair.key).tls
    assert Settings().tls is None


def test_a_new_pair_is_taken_and_a_broken_one_is_not(pair: TlsFiles, tmp_path: Path) -> None:
    """Each change is told once; what is half written is taken when it is whole."""
    held = Certificates(pair)
    first = held.context
    assert held.look() is None
    new, new_key = made_in(tmp_path / "new")
    with capture_logs() as logs:
        shutil.copy(new, pair.certificate)  # The key has not come yet.
        assert held.look() is False
        assert held.look() is None
        assert held.context is first
        assert [line["log_level"] for line in logs] == ["error"]
        shutil.copy(new_key, pair.key)
        assert held.look() is True
        assert held.context is not first
        pair.key.unlink()
        assert held.look() is False
        assert held.look() is None
        shutil.copy(new_key, pair.key)
        assert held.look() is True
    assert [line["log_level"] for line in logs] == ["error", "info", "error", "info"]


async def test_open_calls_live_and_new_ones_see_the_new_certificate(
    pair: TlsFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the files are links that are moved, as Kubernetes mounts them."""
    monkeypatch.setattr(certificates, "LOOK_S", 0.01)
    new, _ = made_in(tmp_path / "new")
    mounted = tmp_path / "mounted"
    mounted.symlink_to(pair.certificate.parent)
    settings: dict[str, Any] = {"tls_cert": mounted / pair.certificate.name, "tls_key": mounted / pair.key.name}
    async with running(**settings) as server, server.connect() as caller:
        moved = tmp_path / "moved"
        moved.symlink_to(new.parent)
        moved.rename(mounted)
        await until(lambda: metric(server.pod.observer.registry.page(), "taken") == 1)
        await caller.send("still here")
        assert await caller.recv() == "still here"
        with pytest.raises(ssl.SSLCertVerificationError):
            await server.connect()
        async with server.connect(ssl=trusting(new)) as newer:
            await newer.send("hello")
            assert await newer.recv() == "hello"
        new.write_text("broken")
        await until(lambda: metric(server.pod.observer.registry.page(), "kept") == 1)
        async with server.connect(ssl=trusting_pem(newer)) as newest:
            await newest.send("hello")
            assert await newest.recv() == "hello"


def trusting_pem(connection: object) -> ssl.SSLContext:
    """Believes the certificate that a connection's server showed."""
    shown = connection.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)  # type: ignore[attr-defined]
    return ssl.create_default_context(cadata=ssl.DER_cert_to_PEM_cert(shown))


def metric(page: bytes, outcome: str) -> float:
    """How often the files changed with this outcome."""
    lines = page.decode().splitlines()
    return sum(float(it.split()[-1]) for it in lines if it.startswith("voice_tls_reloads_total{") and outcome in it)
