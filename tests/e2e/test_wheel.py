"""The built wheel, installed and used where nothing else of the project is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path

import pytest

from tests.servers import free_port
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.xdist_group("wheel")  # one that is built for all of them
ROOT = Path(__file__).parents[2]
PACKAGE = "app/voice_agent"
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "NOTICE")


@dataclass(frozen=True)
class Installed:
    """The wheel, a command made from it, and the folder and home of the user who calls it."""

    wheel: Path
    command: Path
    folder: Path
    home: Path

    def environment(self) -> dict[str, str]:
        """Without anything that leads back to the checkout."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("VOICE_", "PYTHON", "XDG_"))}
        return {**kept, "HOME": str(self.home)}

    def run(self, *arguments: str) -> str:
        """What a command says. It must succeed."""
        done = subprocess.run(
            [self.command, *arguments],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def serving(self, *arguments: str) -> Iterator[str]:
        """A pod that has taken to its port; its address. At the end it leaves as it should."""
        address = f"127.0.0.1:{free_port()}"
        log = self.home / "log"
        with log.open("w") as output:
            server = subprocess.Popen(
                [self.command, "serve", "--port", address.partition(":")[2], *arguments],
                cwd=self.folder,
                env=self.environment(),
                stdout=output,
                stderr=output,
            )
        try:
            deadline_s = time.monotonic() + PATIENCE_S
            while "takes calls" not in log.read_text():
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline_s, log.read_text()
                time.sleep(0.02)
            yield address
            server.send_signal(signal.SIGTERM)
            assert server.wait(PATIENCE_S) == 0, log.read_text()
        finally:
            server.kill()
            server.wait()


def pip(*arguments: str | Path) -> None:
    """Without network: what is not here would be an error."""
    quiet = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    subprocess.run([sys.executable, "-m", "pip", *arguments, *quiet], check=True, timeout=PATIENCE_S)


def package_files() -> set[str]:
    """Of the package, as it is in the checkout; compiled code is nobody's source."""
    found = (path for path in (ROOT / PACKAGE).rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {str(path.relative_to(ROOT / "app")) for path in found}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Built from a copy, for a build writes beside its sources. Dependencies are those of this very run."""
    base = tmp_path_factory.mktemp("wheel")
    source = base / "source"
    shutil.copytree(ROOT / PACKAGE, source / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    for name in SOURCES:
        shutil.copy(ROOT / name, source)
    pip("wheel", "--no-build-isolation", "--wheel-dir", base, source)
    (wheel,) = base.glob("*.whl")

    venv = base / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=PATIENCE_S)
    pip("--python", venv / "bin" / "python", "install", "--no-compile", wheel)
    (own,) = venv.glob("lib/python*/site-packages")
    # A folder that a .pth file names comes last, and no .pth file in it is read: not that of this checkout.
    shared = {path for path in sys.path if path.endswith("site-packages")}
    (own / "dependencies.pth").write_text("\n".join(shared))

    folder, home = base / "folder", base / "home"
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "__init__.py").write_text("raise ImportError('this is not yours')")
    home.mkdir()
    return Installed(wheel, venv / "bin" / "voice-agent", folder, home)


def test_the_wheel_holds_all_of_the_package(installed: Installed) -> None:
    """Scripts, samples, grammars and pages too, and nothing else but what tells of it."""
    with zipfile.ZipFile(installed.wheel) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == package_files()


def test_an_index_can_show_the_wheel(installed: Installed) -> None:
    """What it is, its licence and its first page."""
    with zipfile.ZipFile(installed.wheel) as wheel:
        names = wheel.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        told = Parser().parsestr(wheel.read(metadata).decode())
    assert (told["Name"], told["License-Expression"]) == ("voice-agent", "Apache-2.0")
    assert told["Summary"]
    assert told["Description-Content-Type"] == "text/markdown"
    assert str(told.get_payload()).startswith("# voice-agent")
    assert {Path(name).name for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}


def test_the_wheel_serves_and_calls_where_another_package_is_called_app(installed: Installed) -> None:
    """In a folder of somebody's own, on the embedded store in the user's state folder, with the demonstration."""
    with installed.serving() as address:
        said = installed.run("call", "--url", f"ws://{address}/v1/realtime", "--text", "hello")
        assert "front desk" in said
        assert "0 missing, 0 repeated" in said
        assert "blue" in installed.run("fleet", "--url", f"http://{address}")
        with urllib.request.urlopen(f"http://{address}/", timeout=PATIENCE_S) as page:
            assert b"<html" in page.read()
    assert (installed.home / ".local/state/voice-agent/store").is_dir()
    assert [path.name for path in installed.folder.iterdir()] == ["app"]


@pytest.mark.slow
def test_the_wheel_brings_the_recordings_that_its_commands_speak(installed: Installed) -> None:
    """The sample call and the smoke call, heard and answered by the demonstration."""
    with installed.serving("--store", "memory://") as address:
        url = f"ws://{address}/v1/realtime"
        assert "appointment" in installed.run("call", "--url", url)
        assert "ok: " in installed.run("smoke", "--url", url, "--color", "blue", "--limit", str(PATIENCE_S))


def test_the_wheel_speaks_of_no_checkout(installed: Installed) -> None:
    """Whoever installed it has no Makefile; and what another terminal is to type, works there."""
    with installed.serving("--agent", "echo", "--store", "memory://") as address:
        welcome = (installed.home / "log").read_text()
        assert f"{installed.command} call --url ws://{address}/v1/realtime" in welcome
    helps = [installed.run(name, "--help") for name in ("serve", "call", "smoke", "cutover", "rehearse", "drain")]
    assert [text for text in [welcome, *helps] if "make " in text] == []
