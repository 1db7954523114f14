"""An agent from a file that is not installed, as ``agent.py:Clock``."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import invalidate_caches
from importlib.util import cache_from_source, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Self

FILE = re.compile(r".+\.py:\w+")
INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Folders that may stand beside an agent, in a virtual environment, and hold nothing of its author's."""
NOT_BESIDE = frozenset({"__main__", "voice_agent"})
"""What runs the server, wherever that is."""


@dataclass(frozen=True, slots=True)
class AgentFile:
    """Where an agent is written: a file, and a name in it."""

    path: Path
    attribute: str

    @classmethod
    def named(cls, where: str) -> Self:
        """From what an operator writes, which matches `FILE`."""
        file, _, attribute = where.rpartition(":")
        return cls(Path(file), attribute)

    @property
    def settings(self) -> Path:
        """Where its settings are, if they stand beside it."""
        return self.path.with_suffix(".toml")

    @property
    def watched(self) -> list[Path]:
        """All that it is made of, once it was loaded: what is to be looked at for changes."""
        return [self.path, self.settings, *(Path(str(module.__file__)) for module in self._beside().values())]

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

    def load_anew(self) -> Callable[[], Any]:
        """As `load`, of it and of what it imports from beside it as they are now. If it raises, all stays as it was."""
        before = self._beside() | {name: sys.modules[name] for name in [self._module] if name in sys.modules}
        for name, module in before.items():
            # Compiled code is told from its source by the second and the size: two changes may be alike in both.
            Path(cache_from_source(str(module.__file__))).unlink(missing_ok=True)
            del sys.modules[name]
        invalidate_caches()
        try:
            return self.load()
        except BaseException:
            for name in self._beside():
                del sys.modules[name]
            sys.modules.update(before)
            raise

    @property
    def _module(self) -> str:
        return f"voice_agent_file_{self.path.stem}"

    def _beside(self) -> dict[str, ModuleType]:
        """Modules that were loaded from beside it, and are no part of anything installed."""
        folder = f"{self.path.resolve().parent}{os.sep}"
        return {
            name: module
            for name, module in list(sys.modules.items())
            if (found := getattr(module, "__file__", None) or "").startswith(folder)
            and found.endswith(".py")
            and INSTALLED.isdisjoint(Path(found.removeprefix(folder)).parts)
            and name.partition(".")[0] not in NOT_BESIDE
            and name != self._module
        }
