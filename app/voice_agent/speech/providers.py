"""Which ears and voices there are, and which of them an agent hears and speaks with.

Those over HTTP go by their address, and several are one that falls back.

A package adds one with an entry point of the group ``voice_agent.ears`` or ``voice_agent.voices``: it names a callable
that takes nothing and returns an `Ear` or a `Voice`. Those that come with the server need an extra, `natural` or
`demo`; the server's own is the best of them whose extra is installed. No engine is loaded here, but in the workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar

from voice_agent.errors import SettingsError
from voice_agent.extras import DEMO, NATURAL, PIPER, missing_extra
from voice_agent.kit.agent import Agent
from voice_agent.kit.ear import Ear
from voice_agent.kit.voice import Voice
from voice_agent.opening import opening
from voice_agent.providers.client import ProviderClient
from voice_agent.speech.fallback_ear import FallbackEar
from voice_agent.speech.fallback_voice import FallbackVoice
from voice_agent.speech.http_ear import EarEndpoint, HttpEar
from voice_agent.speech.http_voice import HttpVoice, VoiceEndpoint
from voice_agent.speech.provider_faults import ear_fault, voice_fault
from voice_agent.speech.worker_ear import NATURAL as NATURAL_EAR
from voice_agent.speech.worker_ear import POCKETSPHINX, WHISPER, WorkerEar
from voice_agent.speech.worker_voice import ESPEAK, HIBARI, WorkerVoice
from voice_agent.speech.worker_voice import PIPER as PIPER_VOICE
from voice_agent.speech.workers import SpeechWorkers

EAR_GROUP = "voice_agent.ears"
VOICE_GROUP = "voice_agent.voices"

Provider = TypeVar("Provider", Ear, Voice)


class SpeechModels(NamedTuple):
    """Models of the server's own ears and voices, in place of those that their packages bring; "": those."""

    whisper: str = ""
    """A directory, as CTranslate2 has it."""
    piper: str = ""
    """The file of a voice, its configuration beside it."""


class SpeechProviders:
    """The ears and voices of a pod. One is made when it is first asked for; only those are opened."""

    def __init__(
        self,
        workers: SpeechWorkers,
        client: Callable[[], ProviderClient] | None = None,
        models: SpeechModels | None = None,
    ) -> None:
        """`workers`: shared by the ears and the voices that come with the server. `client`: of those over HTTP."""
        self._client = client or _no_client
        models = models or SpeechModels()
        whisper = {"model": models.whisper}
        self._ears: _Shelf[Ear] = _Shelf(
            "ear",
            EAR_GROUP,
            ear_fault,
            {
                NATURAL_EAR: _Own(NATURAL, lambda: WorkerEar(workers, NATURAL_EAR, **whisper)),
                WHISPER: _Own(NATURAL, lambda: WorkerEar(workers, WHISPER, **whisper)),
                POCKETSPHINX: _Own(DEMO, lambda: WorkerEar(workers, POCKETSPHINX)),
            },
        )
        self._voices: _Shelf[Voice] = _Shelf(
            "voice",
            VOICE_GROUP,
            voice_fault,
            {
                HIBARI: _Own(NATURAL, lambda: WorkerVoice(workers, HIBARI, languages=["en"], others=ESPEAK)),
                ESPEAK: _Own(DEMO, lambda: WorkerVoice(workers, ESPEAK)),
                PIPER_VOICE: _Own(PIPER, lambda: WorkerVoice(workers, PIPER_VOICE, voice=models.piper)),
            },
        )
        self._used: list[Ear | Voice] = []
        self._open: list[Ear | Voice] = []
        self._opened = AsyncExitStack()

    @property
    def ears(self) -> Mapping[str, Ear]:
        """Those that were asked for by name, and the server's own if an agent has it."""
        return MappingProxyType(self._ears.made)

    @property
    def voices(self) -> Mapping[str, Voice]:
        """As `ears`."""
        return MappingProxyType(self._voices.made)

    def ear_for(self, agent: Agent, chosen: Sequence[str | EarEndpoint] = ()) -> Ear:
        """What hears an agent's callers: those chosen, by name or address, else the agent's own, else the server's.

        Where the server has none: a plain `Ear()`, which understands nothing. Raises `SettingsError` for
        one that cannot be had.
        """
        if chosen:
            ears = [self._ears.get(each) if isinstance(each, str) else HttpEar(self._client, each) for each in chosen]
            found = ears[0] if len(ears) == 1 else FallbackEar(ears)
        elif agent.ear is not None:
            found = agent.ear
            if type(found) is not Ear:
                _checked(found, ear_fault, f"The ear of the agent {agent.name!r}")
        else:
            found = self._ears.best() or Ear()
        return self._use(found)

    def voice_for(self, agent: Agent, chosen: Sequence[str | VoiceEndpoint] = ()) -> Voice:
        """What says the texts of an agent: those chosen, by name or address, else the agent's own, else the server's.

        Raises `SettingsError` for one that cannot be had, and where the server has none. An agent that has no text
        said sets its `voice` to a plain `Voice()`.
        """
        if chosen:
            voices = [
                self._voices.get(each) if isinstance(each, str) else HttpVoice(self._client, each) for each in chosen
            ]
            found = voices[0] if len(voices) == 1 else FallbackVoice(voices)
        elif agent.voice is not None:
            found = agent.voice
            if type(found) is not Voice:
                _checked(found, voice_fault, f"The voice of the agent {agent.name!r}")
        elif (own := self._voices.best()) is not None:
            found = own
        else:
            raise SettingsError(
                f"The agent {agent.name!r} has no voice: the server's own, {ESPEAK!r}, "
                f"{missing_extra(DEMO)}; or give it another, with its attribute `voice`."
            )
        return self._use(found)

    async def open(self) -> None:
        """Open each that was asked for and is not open. When one fails, those of this time are closed.

        Raises `NotOpened`, or the error that it raised if that is the server's own.
        """
        async with AsyncExitStack() as undoing:
            for provider in self._used:
                if not _is_in(provider, self._open):
                    undoing.push_async_callback(self._close_one, provider)
                    self._open.append(provider)
                    with opening(_named(provider)):
                        await provider.open()
            self._opened.push_async_callback(undoing.pop_all().aclose)

    def forget_unopened(self) -> None:
        """Those that were asked for and are not open are not wanted any more."""
        self._used = list(self._open)

    async def close_unused(self, agents: Iterable[Agent]) -> None:
        """Close what none of these agents has, but for what is had by name. Each is closed, whatever others raise."""
        kept = [part for agent in agents for each in (agent.ear, agent.voice) if each for part in _parts(each)]
        kept += [*self._ears.made.values(), *self._voices.made.values()]
        async with AsyncExitStack() as closing:
            for provider in self._open:
                if not _is_in(provider, kept):
                    closing.push_async_callback(self._close_one, provider)
            self._used = [provider for provider in self._used if _is_in(provider, kept)]

    async def ready(self) -> None:
        """Wait until no call needs to wait for models. Raises as `open` does."""

        async def ready(provider: Ear | Voice) -> None:
            with opening(_named(provider)):
                await provider.ready()

        await asyncio.gather(*map(ready, self._open))

    async def close(self) -> None:
        """Close what was opened, last first; safe to call twice. Each is closed, whatever the others raise."""
        await self._opened.aclose()

    async def _close_one(self, provider: Ear | Voice) -> None:
        if _is_in(provider, self._open):
            self._open = [other for other in self._open if other is not provider]
            await provider.close()

    def _use(self, provider: Provider) -> Provider:
        for part in _parts(provider):
            if not _is_in(part, self._used):
                self._used.append(part)
        return provider


class _Own(NamedTuple, Generic[Provider]):
    """One that comes with the server."""

    extra: str
    make: Callable[[], Provider]


class _Shelf(Generic[Provider]):
    """Providers of one kind, by name."""

    def __init__(
        self,
        kind: str,
        group: str,
        fault: Callable[[object], str | None],
        own: Mapping[str, _Own[Provider]],
    ) -> None:
        """`own`: those of the server, the best first."""
        self.made: dict[str, Provider] = {}
        self._kind = kind
        self._group = group
        self._fault = fault
        self._own: Mapping[str, _Own[Provider]] = own

    def get(self, name: str) -> Provider:
        """The one of that name, made if need be. Raises `SettingsError`."""
        found = self.made.get(name)
        if found is None:
            found = self.made[name] = self._make(name)
        return found

    def best(self) -> Provider | None:
        """The first of the server's own whose extra is installed; None: there is none."""
        return next((self.get(name) for name, own in self._own.items() if missing_extra(own.extra) is None), None)

    def _make(self, name: str) -> Provider:
        what = f"The {self._kind} {name!r}"
        added: dict[str, EntryPoint] = {entry.name: entry for entry in entry_points(group=self._group)}
        if name in added:
            what += f" of {added[name].value!r}"
            try:
                made: Provider = added[name].load()()
            except Exception as error:
                raise SettingsError(f"{what} cannot be loaded: {error}") from error
            return _checked(made, self._fault, what)
        if name not in self._own:
            known = ", ".join(repr(known) for known in sorted({*self._own, *added}))
            raise SettingsError(f"There is no {self._kind} {name!r}; known are {known}.")
        own = self._own[name]
        if (missing := missing_extra(own.extra)) is not None:
            raise SettingsError(f"{what} {missing}.")
        return own.make()


def _no_client() -> ProviderClient:
    raise SettingsError("There is no HTTP client for an ear or a voice by address.")


def _parts(provider: Ear | Voice) -> Sequence[Ear | Voice]:
    """What is opened and closed by itself, for others may have it too."""
    match provider:
        case FallbackEar():
            return provider.ears
        case FallbackVoice():
            return provider.voices
        case _:
            return (provider,)


def _named(provider: Ear | Voice) -> str:
    return f"{'ear' if isinstance(provider, Ear) else 'voice'} {provider.name!r}"


def _is_in(provider: Ear | Voice, others: Iterable[Ear | Voice | None]) -> bool:
    return any(provider is other for other in others)


def _checked(provider: Provider, fault: Callable[[object], str | None], what: str) -> Provider:
    if (wrong := fault(provider)) is not None:
        raise SettingsError(f"{what} {wrong}.")
    return provider
