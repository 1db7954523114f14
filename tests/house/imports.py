"""Which folders of the package import which, as a drawing."""

from __future__ import annotations

import graphlib
from collections import defaultdict
from collections.abc import Mapping

import grimp

PACKAGE = "voice_agent"
DRAWN_APART = frozenset({"runtime/calls", "runtime/durability", "runtime/engine", "runtime/pod"})
"""Folders that are drawn beside the one they are in."""

Graph = Mapping[str, frozenset[str]]
"""What each imports directly."""


def modules() -> Graph:
    """All modules of the package; what is imported for types alone counts."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    return {name: frozenset(graph.find_modules_directly_imported_by(name)) for name in graph.modules}


def folders(graph: Graph) -> Graph:
    """The same of folders and of modules that are in none."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, imported in graph.items():
        inside = _folder(name)
        if inside is not None:
            found[inside] |= {other for other in map(_folder, imported) if other not in (None, inside)}
    return {name: frozenset(imported) for name, imported in found.items()}


def _folder(module: str) -> str | None:
    """Where a module is drawn; None: the package itself."""
    first, second, *_ = [*module.split(".")[1:], "", ""]
    inner = f"{first}/{second}"
    return inner if inner in DRAWN_APART else first or None


def reduced(graph: Graph) -> Graph:
    """Without the arrows that a longer way says too. `graph` has no cycle."""
    reached: dict[str, frozenset[str]] = {}
    for name in graphlib.TopologicalSorter(graph).static_order():
        direct = graph.get(name, frozenset())
        reached[name] = direct.union(*(reached[other] for other in direct))
    return {
        name: frozenset(other for other in direct if not any(other in reached[way] for way in direct - {other}))
        for name, direct in graph.items()
    }


def mermaid(graph: Graph) -> str:
    """A drawing; its text is the same for the same graph."""
    drawn = ((name, " & ".join(f"{_id(other)}[{other}]" for other in sorted(graph[name]))) for name in sorted(graph))
    lines = [f"    {_id(name)}[{name}] --> {others}" for name, others in drawn if others]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```"])


def _id(name: str) -> str:
    return name.strip("_").replace("/", "_")


def drawing() -> str:
    """Of the folders as they are."""
    return mermaid(reduced(folders(modules())))
