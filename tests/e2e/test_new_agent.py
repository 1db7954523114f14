"""An agent as `voice-agent new` writes it, served, changed while it is served, and installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.pods import PodProcess, pods
from tests.waiting import PATIENCE_S, until
from voice_agent.cli.creating import names_for, write
from voice_agent.client.connection import RealtimeCall

ROOT = Path(__file__).parents[2]
TEXT_ONLY = {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text"]}}


async def response(call: RealtimeCall) -> str:
    """What is said next, until the response is done."""
    text = ""
    async for event in call.events():
        if event["type"] in ("response.output_audio_transcript.done", "response.output_text.done"):
            text += event.get("transcript") or event.get("text") or ""
        if event["type"] == "response.done":
            return text
    raise AssertionError("the call ended")


async def answer(call: RealtimeCall, words: str) -> str:
    """What is said to something typed."""
    content = [{"type": "input_text", "text": words}]
    await call.send(
        {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}}
    )
    await call.send({"type": "response.create"})
    return await response(call)


async def test_a_new_agent_is_served_from_its_file_and_loaded_anew_when_that_is_saved(tmp_path: Path) -> None:
    """In the middle of a call, which goes on; with settings from beside it. The log tells what cannot be loaded."""
    write(tmp_path, names_for("my-agent"))
    file = tmp_path / "my_agent" / "agent.py"
    code = file.read_text(encoding="utf-8")

    async def changed(call: RealtimeCall, words: str) -> bool:
        return words in await answer(call, "one two")

    async with pods("memory://") as its:
        pod = await its.start(agent=f"{file}:MyAgent", reload="true")
        async with RealtimeCall(pod.url) as call:
            assert await response(call) == "Good day. "
            await call.send(TEXT_ONLY)
            assert await answer(call, "one two three") == "You said: one two three. Tell me more. "
            file.write_text(code.replace("Tell me more.", "And then?"), encoding="utf-8")
            await until(lambda: changed(call, "And then?"))
            file.write_text(code.replace("class MyAgent", "clas MyAgent"), encoding="utf-8")
            await until(lambda: "invalid syntax (agent.py, line 7)" in logged(pod))
            assert await answer(call, "one two three") == "You said: one two three. And then? "
            (tmp_path / "my_agent" / "agent.toml").write_text("most_words = 1", encoding="utf-8")
            file.write_text(code, encoding="utf-8")
            await until(lambda: changed(call, "You said: one. Tell me more. "))


def logged(pod: PodProcess) -> str:
    """All that a pod has logged so far."""
    return pod.log.read_text(encoding="utf-8")


def test_its_own_tests_pass(tmp_path: Path) -> None:
    """Calls are simulated, and outlive their pods."""
    write(tmp_path, names_for("my-agent"))
    found = os.pathsep.join([str(tmp_path), str(ROOT / "app")])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "tests"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": found},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


@pytest.mark.slow
async def test_a_new_agent_is_installed_and_served_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a virtual environment of its own, with the settings that a variable names."""
    write(tmp_path / "new", names_for("my-agent"))
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=PATIENCE_S)
    (own,) = venv.glob("lib/python*/site-packages")
    shared = [path for path in sys.path if path.endswith("site-packages")]
    (own / "dependencies.pth").write_text("\n".join([str(ROOT / "app"), *shared]))
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        venv / "bin" / "python",
        "install",
        "--quiet",
        "--no-index",
    ]
    options: list[str | Path] = [
        "--no-deps",
        "--no-build-isolation",
        "--disable-pip-version-check",
        "--editable",
        tmp_path / "new",
    ]
    subprocess.run([*pip, *options], check=True, timeout=PATIENCE_S)
    monkeypatch.setattr(sys, "executable", str(venv / "bin" / "python"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    async with pods("memory://") as its:
        pod = await its.start(agent="my-agent", agent_my_agent_settings=tmp_path / "new" / "my_agent" / "agent.toml")
        async with RealtimeCall(pod.url) as call:
            assert await response(call) == "Good day. "
            await call.send(TEXT_ONLY)
            assert await answer(call, "one two three") == "You said: one two three. Tell me more. "
