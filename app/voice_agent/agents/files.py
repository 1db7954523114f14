"""An agent from a file that is not installed, as ``agent.py:Clock``."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

FILE = re.compile(r".+\.py:\w+")


def load_from_file(where: str) -> Callable[[], Any]:
    """What `where`, a path and a name in that file (``agent.py:Clock``), names.

    The file is run; it finds modules beside it, after all that are installed. Raises whatever it raises,
    `FileNotFoundError` and `AttributeError` where there is no such file or name.
    """
    file, _, attribute = where.rpartition(":")
    path = Path(file).resolve(strict=True)
    spec = spec_from_file_location(f"voice_agent_file_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = module_from_spec(spec)
    # A dataclass looks up the module of its class there.
    sys.modules[spec.name] = module
    sys.path.append(str(path.parent))
    spec.loader.exec_module(module)
    made: Callable[[], Any] = getattr(module, attribute)
    return made
