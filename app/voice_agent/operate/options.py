"""What the command lines of `voice-agent cutover` and `voice-agent smoke` say, a table for each matter.

The words only, each checked by itself; what they mean together is checked in `request`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from voice_agent.command_options import one_of
from voice_agent.operate.choosing import ROUTERS, WATCHES
from voice_agent.operate.ports import FULL
from voice_agent.operate.smoke import SAID_FIRST
from voice_agent.settings import ROUTERS_KEY

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
ApiKey = Annotated[str | None, typer.Option(envvar="VOICE_API_KEY", metavar="KEY", help="A key of the server.")]
ColorKey = Annotated[
    str | None,
    typer.Option(envvar=ROUTERS_KEY, metavar="KEY", help="The router's, for the smoke call to choose its color."),
]


@dataclass(frozen=True, slots=True)
class ColorArguments:
    """Which color is to serve."""

    to: Annotated[str | None, typer.Option("--to", metavar="COLOR", help="The color that is to serve.")] = None
    old: Annotated[
        str | None, typer.Option("--from", metavar="COLOR", help="The color to leave; default: the router's other one.")
    ] = None


@dataclass(frozen=True, slots=True)
class RouterArguments:
    """What sends callers to colors."""

    router: Annotated[
        str, typer.Option(parser=one_of(*ROUTERS), metavar="|".join(ROUTERS), help="What sends callers to colors.")
    ] = "haproxy"
    haproxy: Annotated[
        str, typer.Option(metavar="SOCKET", help="HAProxy's runtime API: a socket's path, or HOST:PORT.")
    ] = ""
    rule: Annotated[
        list[str] | None, typer.Option(metavar="ARN", help="A weighted rule of the ALB, first connects first; repeat.")
    ] = None
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="COLOR=NAME", help="A color's target group (ARN) or Service; repeat."),
    ] = None
    terraform: Annotated[
        Path | None, typer.Option(metavar="FILE", help="`terraform output -json` of deploy/terraform: says all of it.")
    ] = None
    namespace: Annotated[str, typer.Option(metavar="NAME", help="Kubernetes namespace.")] = "default"
    resource: Annotated[str, typer.Option(metavar="NAME", help="The HTTPRoute, Ingress or Rollout.")] = "voice-agent"
    color_label: Annotated[
        str, typer.Option(metavar="LABEL", help="Of a Rollout's pods: what tells its revisions apart.")
    ] = "voice-agent/color"


@dataclass(frozen=True, slots=True)
class SourceArguments:
    """Where calls are kept, and who counts them."""

    store: Annotated[
        str | None, typer.Option("--store", metavar="URL", help="Where calls are kept; default: VOICE_STORE_URL.")
    ] = None
    watch: Annotated[
        str, typer.Option(parser=one_of(*WATCHES), metavar="|".join(WATCHES), help="Who counts active calls.")
    ] = "store"
    prometheus: Annotated[str | None, typer.Option(metavar="URL", help="Prometheus' address.")] = None
    cloudwatch: Annotated[str, typer.Option(metavar="NAMESPACE", help="CloudWatch's namespace.")] = "VoiceAgent"


@dataclass(frozen=True, slots=True)
class SmokeArguments:
    """The real call that is made before anybody is moved."""

    smoke_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the smoke call goes: the load balancer's address.")
    ] = None
    smoke_model: Annotated[str | None, typer.Option(metavar="AGENT", help="The agent that it talks to.")] = None
    smoke_limit: Annotated[
        float, typer.Option(min=0.01, metavar="SECONDS", help="Its longest wait for a reply's first audio.")
    ] = 2.0
    smoke_expect: Annotated[
        str, typer.Option(metavar="WORDS", help="Words that must be heard of its recording; '' for none.")
    ] = SAID_FIRST
    no_smoke: Annotated[bool, typer.Option("--no-smoke", help="Move callers without having made a call.")] = False
    api_key: ApiKey = None
    color_key: ColorKey = None


@dataclass(frozen=True, slots=True)
class WaitArguments:
    """How callers are moved step by step, and how long each is waited for."""

    steps: Annotated[str, typer.Option(metavar="PERCENTS", help="Weights one after the other, such as 5,25,100.")] = (
        str(FULL)
    )
    hold: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to watch under each weight.")] = 10.0
    buffer: Annotated[
        float, typer.Option(min=5, metavar="SECONDS", help="How long the old color must have had no call.")
    ] = 300.0
    drain_deadline: Annotated[
        int | None, typer.Option(min=0, metavar="SECONDS", help="Default: VOICE_DRAIN_DEADLINE.")
    ] = None
    deadline: Annotated[
        float | None, typer.Option(min=1, metavar="SECONDS", help="The longest wait for an empty old color.")
    ] = None


@dataclass(frozen=True, slots=True)
class LimitArguments:
    """What the new color may do wrong."""

    max_error_rate: Annotated[
        float, typer.Option(min=0, max=1, metavar="SHARE", help="Of the new color's calls; more roll back.")
    ] = 0.02
    max_turn: Annotated[
        float, typer.Option(min=0.01, metavar="SECONDS", help="First audio of 95 % of its turns; more rolls back.")
    ] = 2.0
    max_dropped: Annotated[
        int, typer.Option(min=0, metavar="CALLS", help="Calls that it may lose; more roll back.")
    ] = 0


@dataclass(frozen=True, slots=True)
class ModeArguments:
    """What is done to the old color, and what instead of a cutover."""

    delete: Annotated[bool, typer.Option("--delete", help="Retire the old color at the end.")] = False
    force: Annotated[
        bool, typer.Option("--force", help="Leave a color that is ill or dead: its problems do not stop the cutover.")
    ] = False
    rollback: Annotated[bool, typer.Option("--rollback", help="Undo an unfinished cutover.")] = False
    forget: Annotated[
        bool, typer.Option("--forget", help="Drop the record of an unfinished cutover, and touch nothing else.")
    ] = False
    dry: Annotated[bool, typer.Option("--dry-run", help="Print every change, and change nothing.")] = False
    as_json: AsJson = False


@dataclass(frozen=True, slots=True)
class CutoverArguments:
    """All options of `voice-agent cutover`, in the order in which its help shows them."""

    color: ColorArguments
    router: RouterArguments
    source: SourceArguments
    smoke: SmokeArguments
    wait: WaitArguments
    limit: LimitArguments
    mode: ModeArguments


@dataclass(frozen=True, slots=True)
class SmokeCommandArguments:
    """All options of `voice-agent smoke`."""

    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where calls go; default: this machine's pod, at VOICE_PORT.")
    ] = None
    color: Annotated[
        str | None, typer.Option(metavar="COLOR", help="The color to call, also at weight 0; default: any.")
    ] = None
    model: Annotated[str | None, typer.Option(metavar="AGENT", help="The agent to talk to.")] = None
    api_key: ApiKey = None
    color_key: ColorKey = None
    expect: Annotated[
        str, typer.Option(metavar="WORDS", help="Words that must be heard of the recording; '' for none.")
    ] = SAID_FIRST
    limit: Annotated[
        float, typer.Option(min=0.01, metavar="SECONDS", help="The longest wait for the first audio of a reply.")
    ] = 2.0
    timeout: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="How long to wait for a reply.")] = 30.0
    as_json: AsJson = False
