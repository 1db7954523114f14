"""Which ear and which voice an agent gets, as its settings say it: by name, by address, or several of them in order.

::

    VOICE_AGENT_<NAME>_EAR=https://api.openai.com/v1,pocketsphinx     VOICE_AGENT_<NAME>_KEY=sk-…
    ear = [{url = "https://api.openai.com/v1", key = "sk-…", model = "whisper-1"}, "pocketsphinx"]

Keys and models that stand beside are given by position; where only one is given, the model is for all addresses, and
the key for those on the host of the first: one provider's key is not sent to another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError

from voice_agent.errors import SettingsError
from voice_agent.invalid_settings import HIDDEN, in_one_line, line
from voice_agent.providers.endpoint import Endpoint
from voice_agent.speech.http_ear import EarEndpoint
from voice_agent.speech.http_voice import VoiceEndpoint

EAR, VOICE, KEY = "ear", "voice", "key"
EAR_KEY, VOICE_KEY = "ear_key", "voice_key"
SPEECH = (EAR, VOICE, "ear_model", "voice_model", EAR_KEY, VOICE_KEY)
"""What the server takes of each agent's settings for its ear and its voice, beside `KEY`, which an agent may have."""
SPEECH_SECRETS = (EAR_KEY, VOICE_KEY, KEY)
"""Those that may come from a file."""
MAX_CHOICES = 8
"""Ears, or voices, of an agent: stops a list that was pasted twice."""

E = TypeVar("E", bound=Endpoint)

EarChoice = tuple[str | EarEndpoint, ...]
VoiceChoice = tuple[str | VoiceEndpoint, ...]
"""Names and addresses, in the order of preference; none: the agent's own choice."""


class GivenSetting(NamedTuple):
    """A setting, and where it is from."""

    value: Any
    where: str
    """In the words of who wrote it: a variable, or a file and a name in it."""


def ear_choice(given: Mapping[str, GivenSetting]) -> EarChoice:
    """What is set of the ear. Raises `SettingsError` with one line."""
    return tuple(each if isinstance(each, str) else _endpoint(EarEndpoint, *each) for each in _choices(given, EAR))


def voice_choice(given: Mapping[str, GivenSetting]) -> VoiceChoice:
    """As `ear_choice`."""
    return tuple(each if isinstance(each, str) else _endpoint(VoiceEndpoint, *each) for each in _choices(given, VOICE))


def _choices(given: Mapping[str, GivenSetting], kind: str) -> list[str | tuple[dict[str, Any], str]]:
    """Each as a name, or as the fields of an endpoint and where they are from."""
    if kind not in given:
        return _nothing(given, kind)
    value, where = given[kind]
    listed = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    found: list[str | tuple[dict[str, Any], str]] = []
    for each in listed:
        match each.strip() if isinstance(each, str) else each:
            case "":
                continue
            case str(address) if "://" in address:
                found.append(({"url": address}, where))
            case str(name):
                found.append(name)
            case dict(fields):
                found.append((dict(fields), where))
            case _:
                raise SettingsError(f"{where}: it must be names and addresses.")
    if len(found) > MAX_CHOICES:
        raise SettingsError(f"{where}: {len(found)} are too many; allowed: at most {MAX_CHOICES}.")
    addresses = [fields for fields, _ in (each for each in found if not isinstance(each, str))]
    if not addresses:
        return _nothing(given, kind, found)
    _spread(addresses, "model", given.get(f"{kind}_model"), everywhere=True)
    _spread(addresses, KEY, given.get(f"{kind}_key") or given.get(KEY), everywhere=False)
    return found


def _nothing(given: Mapping[str, GivenSetting], kind: str, found: Any = ()) -> list[str | tuple[dict[str, Any], str]]:
    for name in (f"{kind}_model", f"{kind}_key"):
        if name in given:
            raise SettingsError(f"{given[name].where}: there is no address for it; set {kind} to one.")
    return list(found)


def _spread(addresses: list[dict[str, Any]], field: str, given: GivenSetting | None, *, everywhere: bool) -> None:
    """Give each address without one its value of a setting."""
    if given is None:
        return
    text = given.value.get_secret_value() if isinstance(given.value, SecretStr) else given.value
    if not isinstance(text, str):
        raise SettingsError(f"{given.where}: it must be text.")
    values = [value.strip() for value in text.split(",")]
    if len(values) not in (1, len(addresses)):
        raise SettingsError(f"{given.where}: there are {len(values)} for {len(addresses)} addresses.")
    if len(values) == 1:
        host = _host(addresses[0])
        values = [values[0] if everywhere or _host(address) == host else "" for address in addresses]
    for address, value in zip(addresses, values, strict=True):
        if value:
            address.setdefault(field, value)


def _host(address: Mapping[str, Any]) -> str:
    try:
        return urlsplit(str(address.get("url", ""))).netloc
    except ValueError:
        return ""


def _endpoint(kind: type[E], fields: dict[str, Any], where: str) -> E:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    name = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        raise SettingsError(f"{where}: {in_one_line(name)!r} is not a setting of an address.")
    if first["type"] == "missing":
        raise SettingsError(f"{where}: an address must have a url.")
    raise SettingsError(line(f"{where}: {name}" if name != "url" else where, first, HIDDEN, kind))
