"""The settings of agents: ``VOICE_AGENT_<NAME>_…`` of the environment, over those of a TOML file.

An agent says by its class `Settings` what it takes; that is checked here, before the server starts. One that says
nothing gets whatever is set, as text, or as its file has it. Beside them stand the server's own of each agent: where
its file is, and which ear and voice it gets.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, Secret, SecretBytes, SecretStr, ValidationError

from voice_agent.agents.echo import Echo
from voice_agent.agents.loopback import Loopback
from voice_agent.agents.registry import ServedAgent
from voice_agent.errors import SettingsError
from voice_agent.invalid_settings import HIDDEN, in_one_line, line
from voice_agent.kit.agent import Agent
from voice_agent.kit.naming import SETTINGS_PREFIX, settings_prefix
from voice_agent.settings import FILE_SUFFIX, misspelt, read_secret
from voice_agent.speech_settings import (
    KEY,
    SPEECH,
    SPEECH_SECRETS,
    EarChoice,
    GivenSetting,
    VoiceChoice,
    ear_choice,
    voice_choice,
)

FILE = "settings"
OWN = (*SPEECH, FILE)
"""What the server itself takes of each agent's settings."""
OF_A_SERVICE = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_[A-Z]+(_(PROTO|PORT|ADDR))?)?)$")
"""How variables end that Kubernetes puts into every container beside a service: of ``voice-agent-blue``, for one,
``VOICE_AGENT_BLUE_PORT_8080_TCP_ADDR``."""


class AgentSettings(NamedTuple):
    """What is set for one agent."""

    values: Any
    """For `Kit.settings`."""
    ear: EarChoice = ()
    """The ears that it is to have, in the order of preference; none is its own choice."""
    voice: VoiceChoice = ()


def agent_settings(agent: Agent, variables: Mapping[str, str], beside: Path | None = None) -> AgentSettings:
    """What is set for `agent`. Raises `SettingsError` with one line for what is wrong.

    `variables`: this agent's alone, by their whole names. `beside`: the file that is taken if none is
    named and this one exists.
    """
    named = named_file(agent.name, variables)
    file = named or beside
    given = {}
    if file is not None and (named or file.is_file()):
        given = {name: GivenSetting(value, f"{file}: {name}") for name, value in _from_file(file, agent).items()}
    given |= _from_variables(agent, variables)
    ear, voice = ear_choice(given), voice_choice(given)
    for name in SPEECH:
        given.pop(name, None)
    declared = declared_settings(agent)
    if declared is not None and KEY not in declared.model_fields and declared.model_config.get("extra") != "allow":
        given.pop(KEY, None)
    if declared is None:
        return AgentSettings(MappingProxyType({name: one.value for name, one in given.items()}), ear, voice)
    return AgentSettings(_validated(agent, declared, given, file), ear, voice)


def named_file(agent: str, variables: Mapping[str, str]) -> Path | None:
    """The file that a variable names for the settings of an agent."""
    named = variables.get(settings_prefix(agent) + FILE.upper())
    return Path(named) if named else None


def settings_of_all(
    served: Mapping[str, ServedAgent], variables: Mapping[str, str]
) -> tuple[dict[str, AgentSettings], list[str]]:
    """What is set for each agent that takes settings, by its name; and warnings about variables that mean nothing.

    `variables`: those of all agents. Where the names of two agents begin alike, one is the longer one's. Raises
    `SettingsError` for a wrong value, a variable that looks misspelt, and one that would be two agents' setting.
    """
    agents = {name: one.agent for name, one in served.items()}
    known = {name: _names_of(agent) for name, agent in agents.items()}
    _refuse_shared(known)
    owned: dict[str, dict[str, str]] = {name: {} for name in agents}
    by_prefix = {settings_prefix(name): name for name in served}
    warnings = []
    for variable, value in sorted(variables.items()):
        prefix = max((each for each in by_prefix if variable.startswith(each)), key=len, default="")
        owner, setting = by_prefix.get(prefix, ""), variable.removeprefix(prefix)
        takes = known.get(owner, frozenset[str]())
        if setting and (takes is None or setting in takes):
            owned[owner][variable] = value
        else:
            warnings.append(_unknown(variable, owner, known))
    found = {}
    for name, agent in agents.items():
        source = served[name].source
        found[name] = agent_settings(agent, owned[name], source.settings if source is not None else None)
    return found, warnings


def declared_settings(agent: Agent) -> type[BaseModel] | None:
    """The agent's class of settings. Raises `SettingsError` if it is none that can be one."""
    declared: Any = agent.Settings
    if declared is None:
        return None
    if not (isinstance(declared, type) and issubclass(declared, BaseModel)):
        raise SettingsError(f"The agent {agent.name!r}: its Settings are no class of pydantic's BaseModel.")
    fault = ""
    by_name = declared.model_config.get("populate_by_name") or declared.model_config.get("validate_by_name")
    for name, field in declared.model_fields.items():
        if name.lower() in OWN:
            fault = f"its setting {name!r} must be called otherwise, for it is the server's"
        elif field.validation_alias not in (None, name) and not by_name:
            fault = f"its setting {name!r} has an alias; settings go by their names, which populate_by_name=True allows"
    if fault:
        raise SettingsError(f"The agent {agent.name!r}: {fault}.")
    return declared


def _names_of(agent: Agent) -> frozenset[str] | None:
    """Every setting of an agent, as variables have it behind their prefix; None: any."""
    declared = declared_settings(agent)
    if isinstance(agent, Echo | Loopback):
        return frozenset(name.upper() for name in (*OWN, KEY, *(name + FILE_SUFFIX for name in SPEECH_SECRETS)))
    if declared is None or declared.model_config.get("extra") == "allow":
        return None
    names = [*OWN, KEY, *declared.model_fields]
    names += [name + FILE_SUFFIX for name in (*SPEECH_SECRETS, *_from_files(declared))]
    return frozenset(name.upper() for name in names)


def _refuse_shared(known: Mapping[str, frozenset[str] | None]) -> None:
    for name, settings in known.items():
        for other in known:
            begins = settings_prefix(other).removeprefix(settings_prefix(name))
            shared = [setting for setting in sorted(settings or ()) if setting.startswith(begins)]
            if shared and other != name:
                variable = settings_prefix(name) + shared[0]
                raise SettingsError(
                    f"{variable} would be a setting of the agents {name!r} and {other!r}; rename one of them."
                )


def _unknown(variable: str, owner: str, known: Mapping[str, frozenset[str] | None]) -> str:
    """A warning. Raises `SettingsError` if it looks like a setting of its owner, or like the name of another agent.

    Names are compared without what all have in common. What may be Kubernetes' own is only warned of.
    """
    prefix = settings_prefix(owner) if owner else SETTINGS_PREFIX
    rest, meant = variable.removeprefix(prefix), None
    if owner:
        settings = sorted(known.get(owner) or ())
        if (near := misspelt(rest, settings)) is not None:
            meant = prefix + near
    else:
        for name in known:
            its = settings_prefix(name)
            words = rest.split("_")
            size = its.removeprefix(SETTINGS_PREFIX).count("_")
            if misspelt("_".join(words[:size]) + "_", [its.removeprefix(SETTINGS_PREFIX)]) is not None:
                meant = its + "_".join(words[size:])
    if meant is not None and not OF_A_SERVICE.search(variable):
        raise SettingsError(f"{variable} is not a setting; did you mean {meant}?")
    return f"{variable} is not a setting of an agent that is served, and is ignored."


def _from_file(file: Path, agent: Agent) -> dict[str, Any]:
    """The settings in a file. Raises `SettingsError` for one that cannot be read, and for a name that means nothing."""
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else in_one_line(str(error))
        variable = settings_prefix(agent.name) + FILE.upper()
        raise SettingsError(f"{variable}: cannot read {str(file)!r}: {reason}.") from error
    declared = declared_settings(agent)
    if declared is not None and declared.model_config.get("extra") != "allow":
        known = [*declared.model_fields, *SPEECH, KEY]
        for name in found:
            if name not in known:
                nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
                raise SettingsError(f"{file}: {name!r} is not a setting of {agent.name!r}; did you mean {nearest!r}?")
    return found


def _from_variables(agent: Agent, variables: Mapping[str, str]) -> dict[str, GivenSetting]:
    prefix = settings_prefix(agent.name)
    declared = declared_settings(agent)
    fields = {name.upper(): name for name in declared.model_fields} if declared else {}
    found: dict[str, GivenSetting] = {}
    for variable, value in variables.items():
        rest = variable.removeprefix(prefix)
        name = fields.get(rest, rest.lower())
        if declared is not None and name in fields.values():
            found[name] = GivenSetting(_parsed(value, declared.model_fields[name].annotation), variable)
        elif name != FILE:
            found[name] = GivenSetting(value, variable)
    # `…_KEY_FILE` of an agent that declares nothing is a text like any other.
    secrets = {
        name
        for name in SPEECH_SECRETS
        if name.upper() + FILE_SUFFIX not in fields and (name != KEY or declared is not None)
    }
    for name in secrets.union(_from_files(declared) if declared is not None else ()):
        variable = prefix + name.upper()
        found.pop(name.lower() + FILE_SUFFIX.lower(), None)
        text = read_secret(variable, variables)
        if text is not None:
            found[name] = GivenSetting(text, variable)
    return found


def _validated(
    agent: Agent, declared: type[BaseModel], given: Mapping[str, GivenSetting], file: Path | None
) -> BaseModel:
    try:
        return declared.model_validate({name: one.value for name, one in given.items()})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    except Exception as error:
        said = f"{type(error).__name__}: {in_one_line(str(error))}"
        raise SettingsError(f"The settings of the agent {agent.name!r} cannot be checked: {said}.") from error
    name = ".".join(map(str, first["loc"]))
    if not first["loc"]:  # All of them together.
        said = in_one_line(first["msg"].removeprefix("Value error, "))
        raise SettingsError(f"The settings of the agent {agent.name!r}: {said}.")
    field = str(first["loc"][0])
    variable = settings_prefix(agent.name) + field.upper()
    if first["type"] == "missing" and field not in given:
        raise SettingsError(f"{variable} must be set" + (f", or {name} in {file}." if file is not None else "."))
    where = given[field].where if field in given else variable
    is_whole = len(first["loc"]) == 1
    is_shown = is_whole and field in given and field not in _secrets(declared)
    shown = str(given[field].value) if is_shown else HIDDEN
    raise SettingsError(line(where if is_whole else f"{where}: {name}", first, shown, declared))


def _secrets(declared: type[BaseModel]) -> list[str]:
    """Fields that are never shown, and may come from a file."""
    return [name for name, field in declared.model_fields.items() if any(map(_is_secret, _kinds(field.annotation)))]


def _is_secret(kind: Any) -> bool:
    kind = get_origin(kind) or kind
    return isinstance(kind, type) and issubclass(kind, Secret | SecretStr | SecretBytes)


def _from_files(declared: type[BaseModel]) -> list[str]:
    """Secrets that a file may hold: not one beside which there is a setting of the name that would say which."""
    taken = {name.upper() for name in declared.model_fields}
    return [name for name in _secrets(declared) if name.upper() + FILE_SUFFIX not in taken]


def _parsed(text: str, annotation: Any) -> Any:
    """What a variable says, for a field that wants more than a word: JSON, or words separated by commas."""
    kinds = {get_origin(kind) or kind for kind in _kinds(annotation)}
    is_list = bool(kinds & {list, tuple, set, frozenset})
    if is_list or any(kind is dict or (isinstance(kind, type) and issubclass(kind, BaseModel)) for kind in kinds):
        with suppress(ValueError):
            found = json.loads(text)
            if isinstance(found, list | dict):
                return found
    if is_list and str not in kinds:
        return [part for part in (piece.strip() for piece in text.split(",")) if part]
    return text


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types that an annotation stands for: those of a union one by one."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType, Annotated):
        for part in get_args(annotation)[: 1 if origin is Annotated else None]:
            yield from _kinds(part)
    else:
        yield annotation
