"""The name that the package had before: `app.x` is `voice_agent.x`, for scripts and agents that were written for it.

In the checkout's own venv only (a `.pth` file that `make setup` leaves there), and in no wheel: elsewhere `app` is
whatever its owner makes of it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType


class FormerName(MetaPathFinder, Loader):
    """Finds the module of today for the name of before."""

    def __init__(self) -> None:
        self._specs: dict[str, ModuleSpec | None] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """For ``app.x`` only."""
        if not fullname.startswith("app.") or fullname == "app.__main__":
            return None
        return spec_from_loader(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The one that is loaded already, so that no class exists twice."""
        module = import_module("voice_agent" + spec.name.removeprefix("app"))
        self._specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It has been run; it keeps its own spec."""
        spec = module.__spec__
        if spec is not None and spec.name in self._specs:
            module.__spec__ = self._specs.pop(spec.name)


sys.meta_path.insert(0, FormerName())
