"""An agent from a file that is not installed, as ``agent.py:Clock``."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Self

FILE = re.compile(r".+\.py:\w+")


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

    def load(self) -> Callable[[], Any]:
        """What the name names.

        The file is run; it finds modules beside it, after all that are installed. Raises whatever it raises,
        `FileNotFoundError` and `AttributeError` where there is no such file or name.
        """
        path = self.path.resolve(strict=True)
        spec = spec_from_file_location(f"voice_agent_file_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is no Python file")
        module = module_from_spec(spec)
        # A dataclass looks up the module of its class there.
        sys.modules[spec.name] = module
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        spec.loader.exec_module(module)
        made: Callable[[], Any] = getattr(module, self.attribute)
        return made
