"""A realtime voice-agent server whose calls outlive the pods that serve them.

What authors of agents, ears, voices and stores import is here, and is what semantic versioning covers. It is loaded
when it is first asked for (PEP 562), so that a command that needs none of it starts at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voice_agent.agents.pipeline.agent import Pipeline as Pipeline
    from voice_agent.agents.pipeline.settings import PipelineSettings as PipelineSettings
    from voice_agent.agents.relay import Relay as Relay
    from voice_agent.agents.scripted import Scripted as Scripted
    from voice_agent.agents.scripted import ScriptedTurn as ScriptedTurn
    from voice_agent.agents.scripted import Sentences as Sentences
    from voice_agent.agents.tools.functions import tool as tool
    from voice_agent.agents.tools.running import ToolInterrupted as ToolInterrupted
    from voice_agent.agents.tools.running import ToolRequest as ToolRequest
    from voice_agent.agents.tools.running import run_tool as run_tool
    from voice_agent.agents.tools.running import run_tools as run_tools
    from voice_agent.agents.tools.webhook import WebhookTool as WebhookTool
    from voice_agent.agents.tools.webhook_settings import WebhookSettings as WebhookSettings
    from voice_agent.call.audio import PCM as PCM
    from voice_agent.call.audio import PCMA as PCMA
    from voice_agent.call.audio import PCMU as PCMU
    from voice_agent.call.audio import AudioFormat as AudioFormat
    from voice_agent.call.changes import CallWrite as CallWrite
    from voice_agent.call.changes import OutboxEntry as OutboxEntry
    from voice_agent.call.changes import Snapshot as Snapshot
    from voice_agent.call.changes import SpeechEntry as SpeechEntry
    from voice_agent.errors import RecordUnreadable as RecordUnreadable
    from voice_agent.errors import SettingsError as SettingsError
    from voice_agent.errors import StoreFull as StoreFull
    from voice_agent.errors import StoreRefused as StoreRefused
    from voice_agent.errors import StoreUnavailable as StoreUnavailable
    from voice_agent.kit.agent import Agent as Agent
    from voice_agent.kit.agent import Kit as Kit
    from voice_agent.kit.call import Call as Call
    from voice_agent.kit.call import Caller as Caller
    from voice_agent.kit.call import IdempotencyKey as IdempotencyKey
    from voice_agent.kit.call import Item as Item
    from voice_agent.kit.call import KeyReused as KeyReused
    from voice_agent.kit.call import Session as Session
    from voice_agent.kit.call import SideEffect as SideEffect
    from voice_agent.kit.clip import Clip as Clip
    from voice_agent.kit.clip import VoicedAudio as VoicedAudio
    from voice_agent.kit.ear import AgentEar as AgentEar
    from voice_agent.kit.ear import Ear as Ear
    from voice_agent.kit.ear import Transcript as Transcript
    from voice_agent.kit.events import Asked as Asked
    from voice_agent.kit.events import CallEvent as CallEvent
    from voice_agent.kit.events import Dtmf as Dtmf
    from voice_agent.kit.events import Ended as Ended
    from voice_agent.kit.events import Event as Event
    from voice_agent.kit.events import Heard as Heard
    from voice_agent.kit.events import Interrupted as Interrupted
    from voice_agent.kit.events import Started as Started
    from voice_agent.kit.events import Timer as Timer
    from voice_agent.kit.events import ToolResult as ToolResult
    from voice_agent.kit.hearing import Hearing as Hearing
    from voice_agent.kit.hearing import HearingKind as HearingKind
    from voice_agent.kit.speech import NoSpeech as NoSpeech
    from voice_agent.kit.speech import Played as Played
    from voice_agent.kit.speech import Speech as Speech
    from voice_agent.kit.speech import SpeechInterrupted as SpeechInterrupted
    from voice_agent.kit.speech import Spoken as Spoken
    from voice_agent.kit.tools import Tool as Tool
    from voice_agent.kit.tools import ToolError as ToolError
    from voice_agent.kit.usage import Meter as Meter
    from voice_agent.kit.usage import MeteredRequest as MeteredRequest
    from voice_agent.kit.usage import metered as metered
    from voice_agent.kit.voice import Utterance as Utterance
    from voice_agent.kit.voice import Voice as Voice
    from voice_agent.kit.voice import VoiceFailed as VoiceFailed
    from voice_agent.stores.base import Claim as Claim
    from voice_agent.stores.base import Claimed as Claimed
    from voice_agent.stores.base import DrainRequest as DrainRequest
    from voice_agent.stores.base import NotClaimed as NotClaimed
    from voice_agent.stores.base import PodCounters as PodCounters
    from voice_agent.stores.base import PodHeartbeat as PodHeartbeat
    from voice_agent.stores.base import RouterWeights as RouterWeights
    from voice_agent.stores.base import Store as Store
    from voice_agent.stores.base import StoreMemory as StoreMemory
    from voice_agent.stores.base import WriteOutcome as WriteOutcome
    from voice_agent.stores.record_rules import judge_claim as judge_claim
    from voice_agent.stores.record_rules import judge_write as judge_write
    from voice_agent.stores.record_rules import tombstone as tombstone

__version__ = "0.1.0"

_PLACES = {
    "voice_agent.kit.agent": "Agent Kit",
    "voice_agent.kit.call": "Call Caller IdempotencyKey Item KeyReused Session SideEffect",
    "voice_agent.kit.clip": "Clip VoicedAudio",
    "voice_agent.kit.ear": "AgentEar Ear Transcript",
    "voice_agent.kit.events": "Asked CallEvent Dtmf Ended Event Heard Interrupted Started Timer ToolResult",
    "voice_agent.kit.hearing": "Hearing HearingKind",
    "voice_agent.kit.speech": "NoSpeech Played Speech SpeechInterrupted Spoken",
    "voice_agent.kit.usage": "Meter MeteredRequest metered",
    "voice_agent.kit.tools": "Tool ToolError",
    "voice_agent.kit.voice": "Utterance Voice VoiceFailed",
    "voice_agent.agents.pipeline.agent": "Pipeline",
    "voice_agent.agents.pipeline.settings": "PipelineSettings",
    "voice_agent.agents.relay": "Relay",
    "voice_agent.agents.scripted": "Scripted ScriptedTurn Sentences",
    "voice_agent.agents.tools.functions": "tool",
    "voice_agent.agents.tools.running": "ToolInterrupted ToolRequest run_tool run_tools",
    "voice_agent.agents.tools.webhook": "WebhookTool",
    "voice_agent.agents.tools.webhook_settings": "WebhookSettings",
    "voice_agent.call.audio": "AudioFormat PCM PCMA PCMU",
    "voice_agent.call.changes": "CallWrite OutboxEntry Snapshot SpeechEntry",
    "voice_agent.errors": "RecordUnreadable SettingsError StoreFull StoreRefused StoreUnavailable",
    "voice_agent.stores.base": "Claim Claimed DrainRequest NotClaimed PodCounters PodHeartbeat RouterWeights Store"
    " StoreMemory WriteOutcome",
    "voice_agent.stores.record_rules": "judge_claim judge_write tombstone",
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """One of the names above, from where it is defined."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
