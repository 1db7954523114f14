"""An agent from a file that is not installed, as ``agent.py:Clock``."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from voice_agent.agents.source import INSTALLED, AgentSource, python_file

FILE = re.compile(r".+\.py:\w+")
NOT_BESIDE = frozenset({"__main__", "voice_agent"})
"""What runs the server, wherever that is."""


@dataclass(frozen=True, slots=True)
class AgentFile(AgentSource):
    """A file, and a name in it. What it is made of are also modules beside it."""

    path: Path
    attribute: str

    @classmethod
    def named(cls, where: str) -> Self:
        """From what an operator writes, which matches `FILE`."""
        file, _, attribute = where.rpartition(":")
        return cls(Path(file), attribute)

    @property
    def settings(self) -> Path:
        """The file of the same name."""
        return self.path.with_suffix(".toml")

    @property
    def exists(self) -> bool:
        """See `AgentSource.exists`."""
        return self.path.exists()

    def load(self) -> Callable[[], Any]:
        """What the name names.

        The file is run; it finds modules beside it, after all that are installed. Raises whatever it raises,
        `FileNotFoundError` and `AttributeError` where there is no such file or name.
        """
        path = self.path.resolve(strict=True)
        spec = spec_from_file_location(self._module, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is no Python file")
        module = module_from_spec(spec)
        # A dataclass looks up the module of its class there.
        sys.modules[spec.name] = module
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        spec.loader.exec_module(module)
        made: Callable[[], Any] | None = getattr(module, self.attribute, None)
        if made is None:
            raise AttributeError(f"it has no attribute {self.attribute!r}")
        return made

    def _named(self) -> list[Path]:
        return [self.path, self.settings]

    @property
    def _module(self) -> str:
        return f"voice_agent_file_{self.path.stem}"

    def _modules(self) -> dict[str, ModuleType]:
        """Its own, and those from beside it that are no part of anything installed."""
        folder = f"{self.path.resolve().parent}{os.sep}"
        return {
            name: module
            for name, module in list(sys.modules.items())
            if (found := python_file(module)).startswith(folder)
            and INSTALLED.isdisjoint(Path(found.removeprefix(folder)).parts)
            and name.partition(".")[0] not in NOT_BESIDE
        }
