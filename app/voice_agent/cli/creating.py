"""`voice-agent new`: a package with an agent, to begin with."""

from __future__ import annotations

import keyword
import re
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from voice_agent.command_options import with_options
from voice_agent.errors import SettingsError
from voice_agent.kit.naming import is_name, settings_prefix

TEMPLATES = "new_agent"
"""The folder of them, beside this module."""
PLACES = {
    "pyproject.toml": "pyproject.toml.tmpl",
    "README.md": "README.md.tmpl",
    "{package}/__init__.py": "__init__.py.tmpl",
    "{package}/agent.py": "agent.py.tmpl",
    "{package}/agent.toml": "agent.toml.tmpl",
    "tests/test_{package}.py": "test_agent.py.tmpl",
}
SERVED_ALREADY = ("echo", "frontdesk", "loopback")
TAKEN_PACKAGES = frozenset({"app", "tests", "voice_agent", *sys.stdlib_module_names})
TAKEN_CLASSES = frozenset({"BaseModel", "Field", "Scripted", "Settings", "Surroundings"})
"""What the templates import."""


@dataclass(frozen=True, slots=True)
class NewArguments:
    """All options of `voice-agent new`."""

    name: Annotated[str, typer.Argument(metavar="NAME", help="What callers ask for as the model, such as my-agent.")]
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Where it is written; else in a new folder of that name.")
    ] = None


@with_options(NewArguments)
def new(given: NewArguments) -> None:
    """Write a package with an agent of your own: its class, its settings and a test that kills its pods.

    What is there already stays: nothing is written then. An agent of the package is served once that is installed,
    or from its file.

    Example: voice-agent new my-agent && voice-agent serve --agent my-agent/my_agent/agent.py:MyAgent --reload
    """
    folder = given.folder or Path(given.name)
    names = names_for(given.name)
    written = write(folder, names)
    print(f"The agent {given.name} is in {folder}:")
    print(*(f"  {path}" for path in written), sep="\n")
    place = f"{folder / names['package'] / 'agent.py'}:{names['class_name']}"
    print(f"\nTry it:\n  voice-agent serve --agent {place} --reload")


def names_for(name: str) -> dict[str, str]:
    """What the templates call things, for an agent of that name. Raises `SettingsError` for one that cannot be."""
    if not is_name(name):
        raise SettingsError(f"{name!r} cannot be the name of an agent: letters, digits, '.', '_' and '-', at most 128.")
    if name in SERVED_ALREADY:
        raise SettingsError(f"The name {name!r} is taken: every server has such an agent.")
    words = re.findall(r"[A-Za-z0-9]+", name)
    package, class_name = "_".join(words).lower(), "".join(word[0].upper() + word[1:] for word in words)
    if not package.isidentifier() or keyword.iskeyword(package) or package in TAKEN_PACKAGES:
        package = f"agent_{package}"
    if not class_name.isidentifier() or keyword.iskeyword(class_name) or class_name in TAKEN_CLASSES:
        class_name = f"Agent{class_name}"
    return {"name": name, "package": package, "class_name": class_name, "prefix": settings_prefix(name)}


def write(folder: Path, names: dict[str, str]) -> list[Path]:
    """Write all files; where each is. Raises `SettingsError`, and writes none, if one of them is there already."""
    templates = files("voice_agent.cli") / TEMPLATES
    texts = {
        folder / place.format(**names): Template((templates / template).read_text("utf-8")).substitute(names)
        for place, template in PLACES.items()
    }
    for path in texts:
        if path.exists():
            raise SettingsError(f"{path} is there already; nothing was written.")
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise SettingsError(f"cannot write {error.filename}: {error.strerror}.") from error
    return list(texts)
