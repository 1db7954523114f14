"""Agents as the documents show them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.pods import pods
from voice_agent.client.connection import RealtimeCall

ROOT = Path(__file__).parents[2]
TYPED = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go on"}]}
MANUAL = {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text"]}}


def install(directory: Path, code: str, name: str, where: str) -> None:
    """A package with one module and one agent, found where `directory` is on the path."""
    (directory / "my_package.py").write_text(code)
    info = directory / "my_package-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[voice_agent.agents]\n{name} = {where}\n")


def blocks(document: str) -> list[str]:
    """The Python of a document."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / document).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


async def said(call: RealtimeCall) -> str:
    """What the agent answers to a typed turn."""
    await call.send({"type": "conversation.item.create", "item": TYPED})
    await call.send({"type": "response.create"})
    async for event in call.events():
        if event["type"] == "response.output_text.done":
            return str(event["text"])
    raise AssertionError("the call ended")


@pytest.mark.parametrize("by", ["package", "file"])
@pytest.mark.parametrize(
    ("document", "name", "class_name", "expected"),
    [
        ("README.md", "clock", "Clock", r"It is \d+ .*"),
    ],
)
async def test_an_agent_of_ones_own_answers(
    tmp_path: Path, document: str, name: str, class_name: str, expected: str, by: str
) -> None:
    """Copied from the document into a package, named in its entry points and on the command line; or into a file."""
    install(tmp_path, blocks(document)[-1], name, f"my_package:{class_name}")
    async with pods("memory://") as its:
        if by == "package":
            its.packages.append(tmp_path)
        pod = await its.start(agent=name if by == "package" else f"{tmp_path}/my_package.py:{class_name}")
        async with RealtimeCall(pod.url) as call:
            await call.send(MANUAL)
            assert re.fullmatch(expected, await said(call))
