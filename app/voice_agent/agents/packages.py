"""An agent of a package that is installed where it is written, as ``pip install --editable`` does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

from voice_agent.agents.source import INSTALLED, AgentSource, python_file


@dataclass(frozen=True, slots=True)
class AgentPackage(AgentSource):
    """The entry point that names it. What it is made of are the modules of its package."""

    entry_point: EntryPoint

    @property
    def exists(self) -> bool:
        """See `AgentSource.exists`."""
        return Path(python_file(sys.modules[self.entry_point.module])).exists()

    @property
    def is_edited(self) -> bool:
        """Whether, once it was loaded, any of it is where its author writes it: what was copied never changes."""
        return bool(self._modules())

    def load(self) -> Callable[[], Any]:
        """See `AgentSource.load`."""
        made: Callable[[], Any] = self.entry_point.load()
        return made

    def _modules(self) -> dict[str, ModuleType]:
        package = self.entry_point.module.partition(".")[0]
        return {
            name: module
            for name, module in list(sys.modules.items())
            if name.partition(".")[0] == package
            and (found := python_file(module))
            and INSTALLED.isdisjoint(Path(found).parts)
        }
