"""Code of an agent that its author may change while it is served: loaded once, and anew."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import invalidate_caches
from importlib.util import cache_from_source
from pathlib import Path
from types import ModuleType
from typing import Any

INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Folders of what was installed, and so is not changed where it is."""


class AgentSource(ABC):
    """Where an agent is written."""

    __slots__ = ()

    @property
    def settings(self) -> Path | None:
        """Where its settings are, if they stand beside it; None: they never do."""
        return None

    @property
    @abstractmethod
    def exists(self) -> bool:
        """Whether it can be loaded. It is missing while an editor that writes another first saves it."""

    @property
    def watched(self) -> list[Path]:
        """All that it is made of, once it was loaded: what is to be looked at for changes."""
        return [*self._named(), *(Path(str(module.__file__)) for module in self._modules().values())]

    def _named(self) -> list[Path]:
        """Files that are watched by the name that was given, whatever it leads to."""
        return []

    @abstractmethod
    def load(self) -> Callable[[], Any]:
        """What makes the agent. Raises whatever its code raises."""

    def load_anew(self) -> Callable[[], Any]:
        """As `load`, of its modules as they are now. If it raises, all stays as it was."""
        before = self._modules()
        for name, module in before.items():
            # Compiled code is told from its source by the second and the size: two changes may be alike in both.
            Path(cache_from_source(str(module.__file__))).unlink(missing_ok=True)
            del sys.modules[name]
        invalidate_caches()
        try:
            return self.load()
        except BaseException:
            for name in self._modules():
                del sys.modules[name]
            sys.modules.update(before)
            raise

    @abstractmethod
    def _modules(self) -> dict[str, ModuleType]:
        """Those that are loaded and its author's, by name."""


def python_file(module: ModuleType) -> str:
    """The file that a module is from; "" if it is from none of Python's."""
    found: str = getattr(module, "__file__", None) or ""
    return found if found.endswith(".py") else ""
