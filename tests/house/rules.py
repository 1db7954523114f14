"""How large things may be, and which are larger for a reason."""

from __future__ import annotations

from dataclasses import dataclass

from tests.house.measures import Measures, Size

FILE_LINES = 300
"""A file that can be held in the head."""
FUNCTION_LINES = 60
"""One that fits a screen."""
FUNCTION_P99_LINES = 35
"""Of all functions only one in a hundred may be longer: what separates code that reads well is not the average."""
PARAMETERS = 8
METHODS = 20
"""Of a class, its own."""
ATTRIBUTES = 15
"""Of a class: what a reader has to know the state of an object by."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """How large one thing may be, and why."""

    most: int
    reason: str


FILES: dict[str, Allowed] = {}
FUNCTIONS: dict[str, Allowed] = {}
PARAMETER_LISTS: dict[str, Allowed] = {}
METHOD_LISTS: dict[str, Allowed] = {
    "app/voice_agent/observe/metrics.py::Metrics": Allowed(21, "one for each thing that an observer is told"),
}
ATTRIBUTE_LISTS: dict[str, Allowed] = {
    "app/voice_agent/stores/base.py::PodHeartbeat": Allowed(23, "the hash of a pod, as every store keeps it"),
    "app/voice_agent/call/beginnings.py::CallMade": Allowed(18, "all that a new call has from outside"),
    "app/voice_agent/call/record.py::CallRecord": Allowed(17, "the parts of a call"),
    "app/voice_agent/call/changes.py::CallWrite": Allowed(16, "what a store is handed: authors know these names"),
    "app/voice_agent/kit/events.py::Asked": Allowed(17, "all that a reply may depend on: authors know these names"),
    "app/voice_agent/settings.py::Settings": Allowed(41, "a variable of the environment each"),
    "app/voice_agent/edge_settings.py::EdgeSettings": Allowed(18, "a variable of the environment each"),
}

BEING_CUT: frozenset[str] = frozenset()
"""Larger than they should be, and worked on. What has been cut goes out of here."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that breaks a rule."""

    place: str
    words: str

    def __str__(self) -> str:
        return f"{self.place}: {self.words}"


def judge(found: Measures) -> list[Finding]:
    """What is too large without an exception, and every exception that is not needed any more."""
    findings = [
        *_over("code lines", found.files, FILE_LINES, FILES),
        *_over("code lines", found.functions, FUNCTION_LINES, FUNCTIONS),
        *_over("parameters", found.parameters, PARAMETERS, PARAMETER_LISTS),
        *_over("methods", found.methods, METHODS, METHOD_LISTS),
        *_over("attributes", found.attributes, ATTRIBUTES, ATTRIBUTE_LISTS),
    ]
    if found.function_p99 > FUNCTION_P99_LINES:
        findings.append(Finding("app", f"one function of a hundred has over {found.function_p99} code lines"))
    return findings


def too_large(found: Measures) -> set[str]:
    """Places of all that is larger than the rule says, with an exception or without."""
    measured = (
        (found.files, FILE_LINES),
        (found.functions, FUNCTION_LINES),
        (found.parameters, PARAMETERS),
        (found.methods, METHODS),
        (found.attributes, ATTRIBUTES),
    )
    return {one.place for sizes, most in measured for one in sizes if one.size > most}


def _over(unit: str, sizes: list[Size], most: int, allowed: dict[str, Allowed]) -> list[Finding]:
    findings = []
    large = {one.place: one.size for one in sizes if one.size > most}
    for place, size in large.items():
        bound = allowed[place].most if place in allowed else most
        if size > bound and place not in BEING_CUT:
            findings.append(Finding(place, f"{size} {unit}, over {bound}"))
    findings += [
        Finding(place, f"an exception for {unit} that is not needed any more")
        for place in allowed.keys() - large.keys()
    ]
    return findings
