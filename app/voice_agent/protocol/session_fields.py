"""The fields a client may set in a session and in a response.

Sources: ``RealtimeSessionCreateRequest`` and ``RealtimeResponseCreateParams`` of the official OpenAI SDK. Where that
gives no bound there is one here, since whatever passes is stored with the call. What is to be said against a field
because of the call it meets is said in `call.session`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Required

from pydantic import AfterValidator, BeforeValidator, Discriminator, FailFast, Tag
from typing_extensions import TypedDict

from voice_agent.call.audio import FORMATS
from voice_agent.protocol.item_fields import InputItem
from voice_agent.protocol.json_types import (
    KIB,
    Fields,
    entries,
    free_json,
    free_object,
    number,
    of_another_type,
    refusal,
    shown,
    text,
    whole,
)
from voice_agent.protocol.taken import (
    AGENT,
    AGENT_WITH_ALL_BELOW,
    NO_EFFECT,
    NO_EFFECT_WITH_ALL_BELOW,
    WORKS,
    Taken,
)
from voice_agent.protocol.validation import OBJECT, TEXT, WHOLE

MAX_INSTRUCTIONS_BYTES = 64 * KIB
MAX_TOOLS = 128
MAX_TOOLS_BYTES = 256 * KIB
"""Names, descriptions and parameter schemas of all tools together."""
MAX_TOOLS_VALUES = 8 * KIB
"""JSON values in all tools: stops a message of empty objects whose checking keeps all other calls waiting."""
MAX_INPUT_VALUES = 4 * KIB
"""The same of a response's input, each of whose parts is checked by itself."""
MAX_INPUT_ITEMS = 256
MAX_INPUT_BYTES = 512 * KIB
"""What a response may be given to answer in place of the conversation."""
MAX_MODEL_BYTES = 256
"""Of the model that a client names in its session: it is looked at and not kept."""


def _json_type(value: Any) -> str:
    """Tells the members of a union apart."""
    return OBJECT if isinstance(value, dict) else TEXT


# --- audio -------------------------------------------------------------------


class _AudioFormat(TypedDict, total=False):
    type: Required[Literal["audio/pcm", "audio/pcmu", "audio/pcma"]]
    rate: Annotated[int, whole(1, 192_000)]


def _no_name(value: Any) -> Any:
    if isinstance(value, str):
        raise refusal(f'must be an object such as {{"type": "audio/pcm", "rate": 24000}}, not {shown(value)}')
    return value


def _of_its_rate(given: dict[str, Any]) -> dict[str, Any]:
    audio_format = FORMATS[given["type"]]
    if given.get("rate", audio_format.rate_hz) != audio_format.rate_hz:
        raise refusal(f"must be {audio_format.rate_hz} for {audio_format.name}", below="rate")
    return audio_format.as_json()


Format = Annotated[_AudioFormat, Fields(), AfterValidator(_of_its_rate), BeforeValidator(_no_name)]

VoiceName = Annotated[str, text(64, min_bytes=1, pattern=r"[\w.+:/-]+", means="letters, digits and '.+:/_-'")]


class _CustomVoice(TypedDict, total=False):
    id: Required[VoiceName]


def _its_id(voice: dict[str, Any]) -> str:
    return str(voice["id"])


Voice = Annotated[
    Annotated[VoiceName, Tag(TEXT)] | Annotated[_CustomVoice, Fields(), AfterValidator(_its_id), Tag(OBJECT)],
    Discriminator(_json_type),
]
"""A name, or ``{"id": …}`` of a custom voice, which is kept as its id."""


class _Transcription(TypedDict, total=False):
    model: Annotated[str, text(128), Taken("no effect", "the agent hears as it hears")]
    language: Annotated[str, text(32), AGENT]
    prompt: Annotated[str, text(8 * KIB), Taken("agent", "an ear may go by it, in place of the agent's own")]
    delay: Annotated[Literal["minimal", "low", "medium", "high", "xhigh"], NO_EFFECT]
    keywords: Annotated[
        list[Annotated[str, text(256)]],
        entries(0, 256),
        Taken("agent", "said to the ear behind `prompt`", all_below=True),
    ]
    languages: Annotated[list[Annotated[str, text(32)]], entries(0, 32), NO_EFFECT_WITH_ALL_BELOW]


class _NoiseReduction(TypedDict, total=False):
    type: Literal["near_field", "far_field"]
    strength: Annotated[float, number(0, 1)]


class _TurnDetection(TypedDict, total=False):
    """Of both modes: an update need not name its mode, and then the call's own says which fields there are."""

    type: Annotated[Literal["server_vad", "semantic_vad"], Taken("works", "`server_vad`, `semantic_vad`")]
    threshold: Annotated[float, number(0, 1), WORKS]
    prefix_padding_ms: Annotated[int, whole(0, 5_000), WORKS]
    silence_duration_ms: Annotated[int, whole(20, 10_000), WORKS]
    create_response: Annotated[bool, WORKS]
    interrupt_response: Annotated[bool, WORKS]
    idle_timeout_ms: Annotated[Annotated[int, whole(1_000, 120_000)] | None, Taken("works", "null: off")]
    eagerness: Annotated[
        Literal["low", "medium", "auto", "high"],
        Taken(
            "works",
            "the silence that ends a turn, after a finished sentence, after one that goes on, else: `low` 800, 3000, "
            "1500 ms; `medium` and `auto` 320, 1800, 800 ms; `high` 240, 1000, 400 ms",
        ),
    ]


class _Input(TypedDict, total=False):
    format: Annotated[
        Format, Taken("works", "PCM of 24 kHz, µ-law, A-law; a new one drops what was not committed", all_below=True)
    ]
    transcription: Annotated[
        Annotated[_Transcription, Fields()] | None,
        Taken("works", "given: events tell what was understood; null: none do"),
    ]
    noise_reduction: Annotated[
        Annotated[_NoiseReduction, Fields()] | None, Taken("no effect", "null: off", all_below=True)
    ]
    turn_detection: Annotated[
        Annotated[_TurnDetection, Fields(null_means={"idle_timeout_ms": None})] | None,
        Taken("works", "null: off, the client commits"),
    ]


class _ResponseOutput(TypedDict, total=False):
    format: Annotated[Format, Taken("works", "as of the input", all_below=True)]
    voice: Annotated[Voice, Taken("works", "a session's, until it has been heard", all_below=True)]


class _Output(_ResponseOutput, total=False):
    speed: Annotated[float, number(0.25, 1.5), AGENT]


class _Audio(TypedDict, total=False):
    input: Annotated[
        _Input,
        Fields(null_means=dict.fromkeys(("transcription", "noise_reduction", "turn_detection"))),
        WORKS,
    ]
    output: Annotated[_Output, Fields(), WORKS]


class _ResponseAudio(TypedDict, total=False):
    output: Annotated[_ResponseOutput, Fields(), WORKS]


# --- tools -------------------------------------------------------------------

ToolName = Annotated[str, text(64, min_bytes=1, pattern=r"[A-Za-z0-9_-]+", means="letters, digits, '_' and '-'")]


class _Tool(TypedDict, total=False):
    type: Literal["function"]
    name: Required[ToolName]
    description: Annotated[str, text(MAX_TOOLS_BYTES)]
    parameters: Annotated[dict[str, Any], free_object(MAX_TOOLS_BYTES)]
    strict: bool


def _not_mcp(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") == "mcp":
        raise refusal("is 'mcp'; this server takes only tools of type 'function'", below="type")
    return value


def _a_function(tool: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", **tool}


Tool = Annotated[
    _Tool,
    Fields(hints={"function": "Put name, description and parameters directly into the tool."}),
    AfterValidator(_a_function),
    BeforeValidator(_not_mcp),
]


def _of_different_names(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    seen: set[str] = set()
    for index, tool in enumerate(tools):
        if tool["name"] in seen:
            raise refusal(f"is {shown(tool['name'])}, the name of an earlier tool", below=f"[{index}].name")
        seen.add(tool["name"])
    return tools


class _FunctionChoice(TypedDict, total=False):
    type: Required[Literal["function"]]
    name: Required[ToolName]


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag(TEXT)] | Annotated[_FunctionChoice, Fields(), Tag(OBJECT)],
    Discriminator(_json_type),
]

# --- what sessions and responses have in common --------------------------------


def _only_one(modalities: list[str]) -> list[str]:
    if len(modalities) != 1:
        raise refusal("must be ['audio'] or ['text']; audio comes with its transcript, both at once are not possible")
    return modalities


MaxTokens = Annotated[
    Annotated[Literal["inf"], Tag(TEXT)] | Annotated[int, whole(1, 4096), Tag(WHOLE)],
    Discriminator(lambda value: TEXT if isinstance(value, str) else WHOLE),
]


class _Reasoning(TypedDict, total=False):
    effort: Literal["minimal", "low", "medium", "high", "xhigh"]


class _Prompt(TypedDict, total=False):
    id: Required[Annotated[str, text(256, min_bytes=1)]]
    version: Annotated[str, text(64)]
    variables: Annotated[dict[str, Any], free_object(64 * KIB)]


class _Common(TypedDict, total=False):
    output_modalities: Annotated[
        list[Literal["text", "audio"]],
        entries(1, 2),
        AfterValidator(_only_one),
        Taken("works", '`["audio"]` or `["text"]`', all_below=True),
    ]
    instructions: Annotated[str, text(MAX_INSTRUCTIONS_BYTES), Taken("agent", "at most 64 KiB")]
    tools: Annotated[
        list[Tool],
        FailFast(),
        entries(0, MAX_TOOLS),
        free_json(MAX_TOOLS_BYTES, MAX_TOOLS_VALUES),
        AfterValidator(_of_different_names),
        Taken(
            "agent",
            "of type `function`, at most 128; an update replaces those before",
            all_below=True,
            refused=("[] (mcp)",),
        ),
    ]
    tool_choice: Annotated[ToolChoice, Taken("agent", all_below=True, refused=(" (mcp)",))]
    parallel_tool_calls: Annotated[bool, AGENT]
    max_output_tokens: Annotated[MaxTokens, Taken("agent", "1 to 4096 or `inf`; null in a session: `inf`")]
    reasoning: Annotated[_Reasoning, Fields(), NO_EFFECT_WITH_ALL_BELOW]
    prompt: Annotated[_Prompt, Fields(), NO_EFFECT_WITH_ALL_BELOW]


_BETA_HINTS = {
    "modalities": "In the GA protocol it is 'output_modalities'.",
    "voice": "In the GA protocol it is 'audio.output.voice'.",
    "output_audio_format": "In the GA protocol it is 'audio.output.format', an object with a 'type'.",
    "max_response_output_tokens": "In the GA protocol it is 'max_output_tokens'.",
    "temperature": "The GA protocol has no such field.",
}

# --- session -------------------------------------------------------------------


class _Tracing(TypedDict, total=False):
    workflow_name: Annotated[str, text(256)]
    group_id: Annotated[str, text(256)]
    metadata: Annotated[dict[str, Any], free_object(4 * KIB)]


class _TokenLimits(TypedDict, total=False):
    post_instructions: Annotated[int, whole(0, 10_000_000)]


class _RetentionRatio(TypedDict, total=False):
    type: Required[Literal["retention_ratio"]]
    retention_ratio: Required[Annotated[float, number(0, 1)]]
    token_limits: Annotated[_TokenLimits, Fields()]


def _text_or_else(value: Any) -> str:
    return TEXT if isinstance(value, str) else OBJECT


class _Kind(TypedDict, total=False):
    type: Annotated[Literal["realtime"], Taken("works", "`realtime`; `transcription` is refused")]
    model: Annotated[
        str, text(MAX_MODEL_BYTES), Taken("no effect", "any name is taken, and the call's own model goes on")
    ]


class _Session(_Kind, _Common, total=False):
    audio: Annotated[_Audio, Fields(), Taken("works", "merged at every depth")]
    tracing: Annotated[
        Annotated[
            Annotated[Literal["auto"], Tag(TEXT)] | Annotated[_Tracing, Fields(), Tag(OBJECT)],
            Discriminator(_text_or_else),
        ]
        | None,
        Taken("no effect", "null: off", all_below=True),
    ]
    truncation: Annotated[
        Annotated[Literal["auto", "disabled"], Tag(TEXT)] | Annotated[_RetentionRatio, Fields(), Tag(OBJECT)],
        Discriminator(_text_or_else),
        AGENT_WITH_ALL_BELOW,
    ]
    include: Annotated[
        list[Literal["item.input_audio_transcription.logprobs"]], entries(0, 1), NO_EFFECT_WITH_ALL_BELOW
    ]
    # Clients edit the session they were given; `call.session` sees to it that these are as they were.
    id: Any
    object: Any
    expires_at: Any
    call: Any


Session = Annotated[
    _Session,
    Fields(
        null_means={"tracing": None, "max_output_tokens": "inf"},
        hints={
            **_BETA_HINTS,
            "input_audio_format": "In the GA protocol it is 'audio.input.format', an object with a 'type'.",
            "speed": "In the GA protocol it is 'audio.output.speed'.",
            "turn_detection": "In the GA protocol it is 'audio.input.turn_detection'.",
            "input_audio_transcription": "In the GA protocol it is 'audio.input.transcription'.",
            "input_audio_noise_reduction": "In the GA protocol it is 'audio.input.noise_reduction'.",
        },
    ),
]

# --- response ------------------------------------------------------------------


def _pairs(given: Any) -> dict[str, str]:
    if not isinstance(given, dict):
        raise refusal(of_another_type(given, "an object"), "invalid_type")
    if len(given) > 16:
        raise refusal(f"has {len(given)} pairs; at most 16 are allowed")
    for key, content in given.items():
        if len(key) > 64:
            raise refusal(f"has a key of {len(key)} characters; at most 64 are allowed")
        if not isinstance(content, str):
            raise refusal(of_another_type(content, "a string"), "invalid_type", below=key)
        if len(content) > 512:
            raise refusal(f"is {len(content)} characters long; at most 512 are allowed", below=key)
    return given


class _Response(_Common, total=False):
    audio: Annotated[_ResponseAudio, Fields(), WORKS]
    metadata: Annotated[Any, BeforeValidator(_pairs), Taken("agent", "and is in the response")]
    conversation: Annotated[
        Literal["auto", "none"],
        Taken("works", "`none`: outside the conversation; one response at a time all the same"),
    ]
    input: Annotated[
        list[InputItem],
        FailFast(),
        entries(0, MAX_INPUT_ITEMS),
        free_json(MAX_INPUT_BYTES, MAX_INPUT_VALUES),
        Taken("agent", "in place of the conversation: items without audio, and `item_reference`", all_below=True),
    ]


Response = Annotated[_Response, Fields(hints=_BETA_HINTS)]
