"""What an agent is: one per pod, and `run` once for each owner of each call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

from voice_agent.kit.call import Call
from voice_agent.kit.ear import Ear
from voice_agent.kit.voice import Voice

if TYPE_CHECKING:
    import httpx
    from pydantic import BaseModel


KEPT_CONNECTIONS = 100
"""Idle ones of the pod's client, to all hosts; the others are closed."""
KEPT_CONNECTIONS_S = 60.0
"""So long an idle one is kept: longer than a caller talks, for a new one costs round trips before each reply."""

T = TypeVar("T")


class _SharedClient:
    """Made when it is first asked for: importing httpx takes longer than many a server's start."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None
        self._made: dict[Any, Any] = {}

    def get(self) -> httpx.AsyncClient:
        if self._client is None:
            import httpx

            from voice_agent.http_transport import GivingUpTransport

            limits = httpx.Limits(
                max_connections=None,  # httpx loses connections that requests wait for when they are given up.
                max_keepalive_connections=KEPT_CONNECTIONS,
                keepalive_expiry=KEPT_CONNECTIONS_S,
            )
            no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
            self._client = httpx.AsyncClient(transport=GivingUpTransport(limits), cookies=no_cookies)
        return self._client

    @property
    def is_made(self) -> bool:
        return self._client is not None

    def made(self, make: Callable[[httpx.AsyncClient], T]) -> T:
        if make not in self._made:
            self._made[make] = make(self.get())
        found: T = self._made[make]
        return found

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()


@dataclass(slots=True)
class Kit:
    """What a pod gives an agent to work with."""

    settings: Any = field(default_factory=dict)
    """This agent's own: an instance of its class `Settings`; without one, a mapping of names in lower case to text, or
    to what its TOML file says."""
    ears: Mapping[str, Ear] = field(default_factory=dict)
    """By name; all are opened."""
    voices: Mapping[str, Voice] = field(default_factory=dict)
    _http: _SharedClient = field(default_factory=_SharedClient)

    @property
    def http(self) -> httpx.AsyncClient:
        """One client for all agents of the pod, made when it is first asked for; the pod closes it.

        It keeps no cookies: what one caller's request brought is not sent with another's.
        """
        return self._http.get()

    def shared(self, make: Callable[[httpx.AsyncClient], T]) -> T:
        """What `make` gives of `http`: made once for all agents of the pod, as a `ProviderClient` is."""
        return self._http.made(make)

    @property
    def has_http(self) -> bool:
        """Whether `http` has been asked for."""
        return self._http.is_made

    def with_settings(self, settings: Any) -> Self:
        """The same for an agent that has other settings."""
        return replace(self, settings=settings)

    async def close(self) -> None:
        """Close what all of them share."""
        await self._http.close()


class Agent:
    """Something that answers calls. One instance serves all calls of a pod; every method has a default."""

    name: str = ""
    """What callers ask for as the model: letters, digits, ``.``, ``_`` and ``-``."""
    Settings: ClassVar[type[BaseModel] | None] = None
    """What settings it takes; they are checked before the server starts, and are in `Kit.settings`.

    Each comes from ``VOICE_AGENT_<NAME>_<SETTING>``, or else from the TOML file that ``VOICE_AGENT_<NAME>_SETTINGS``
    names; a `SecretStr` also from the file that ``VOICE_AGENT_<NAME>_<SETTING>_FILE`` names. None: it takes any.
    """
    ear: Ear | None = None
    """Which one hears its callers; None: the server's own. ``VOICE_AGENT_<NAME>_EAR`` names another.

    A plain `Ear()` understands nothing.
    """
    voice: Voice | None = None
    """Which one says what `Speech.text` is given; None: the server's own, without which it is not served.

    ``VOICE_AGENT_<NAME>_VOICE`` names another. A plain `Voice()` is for an agent that has no text said.
    """
    turn_detection: ClassVar[Literal["server_vad", "semantic_vad"]] = "server_vad"
    """Which its calls begin with; a client may choose the other, or none."""
    language: str = ""
    """What its callers speak where the client's session does not say it, as ISO 639-1; "": whatever its ear takes."""
    lead_ms: int | None = None
    """How far ahead of real time its audio may be sent, in milliseconds; None: as its voice says."""

    async def open(self, kit: Kit) -> None:
        """Load models, start what is needed. Called once; the server takes no calls before it returns."""

    async def ready(self) -> None:
        """Wait until calls need not wait for it any more. Raises what keeps it from that: the server then leaves."""

    async def close(self) -> None:
        """Release what `open` acquired."""

    def is_finished(self, text: str, language: str) -> float | None:
        """How sure it is that a turn of which `text` was understood so far is over: 0 to 1; None: as its words say.

        Asked in a pause under `semantic_vad`: 1 ends the turn sooner, 0 waits longer, as for a number of which digits
        are missing. To be answered at once.
        """
        return None

    def asks_yes_or_no(self, state: Mapping[str, Any]) -> bool:
        """Whether a yes or a no answers what the agent asked last, by what it remembers of the call (`Call.state`).

        An ear that is unsure of a short word then knows what to look for. To be answered at once.
        """
        return False

    def transcription_prompt(self, language: str) -> str:
        """What its callers may say, as a sentence or two of theirs: their ear finds such words sooner. "": nothing.

        `language`: as ISO 639-1, "" where it is not known. Not asked where the client's session has a prompt of its
        own. To be answered at once. An ear that hears noise may take it for what it was told: no "yes" should be in it.
        """
        return ""

    async def run(self, call: Call) -> None:
        """Handle the events of a call, on this pod, until it ends or goes to another; then it is cancelled.

        The default acknowledges everything and says nothing.
        """
        async for _event in call.events():
            pass
