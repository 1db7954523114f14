"""What a command line asks for: its options read once, checked against each other and against the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from voice_agent.client.addresses import PATH, check
from voice_agent.client.refusals import CallFailed
from voice_agent.errors import SettingsError
from voice_agent.operate.choosing import RouterOptions, SourceOptions, parse_targets, read_terraform
from voice_agent.operate.judging import ErrorBudget
from voice_agent.operate.options import (
    CutoverArguments,
    ModeArguments,
    RouterArguments,
    SmokeArguments,
    SmokeCommandArguments,
    WaitArguments,
)
from voice_agent.operate.plan import Options
from voice_agent.operate.smoke import COLOR_KEY, SmokeOptions
from voice_agent.settings import ROUTERS_KEY, Settings, load_settings

EXTRA_WATCH_S = 60.0
"""How much longer than its drain and its buffer the old color is waited for, unless it is said."""


@dataclass(frozen=True, slots=True)
class CutoverRequest:
    """One run of `voice-agent cutover`, with all that it is told."""

    to: str | None
    """None: roll back, or forget."""
    old: str | None
    dry: bool
    forget: bool
    router: RouterOptions
    source: SourceOptions
    smoke: SmokeOptions | None
    """None: no smoke call is made."""
    options: Options
    budget: ErrorBudget
    settings: Settings


def cutover_request(given: CutoverArguments) -> CutoverRequest:
    """Raises `SettingsError` for options that do not go together, or say nothing that can be done."""
    outputs = {} if given.router.terraform is None else read_terraform(given.router.terraform)
    settings, _ = load_settings(for_server=False, store_url=given.source.store or outputs.get("store_url"))
    to, mode = given.color.to, given.mode
    if [to is not None, mode.rollback, mode.forget].count(True) != 1:
        raise SettingsError("give one of --to COLOR, --rollback and --forget")
    if mode.dry and to is None:
        raise SettingsError("--dry-run goes with --to COLOR")
    limit = given.limit
    source = given.source
    return CutoverRequest(
        to=to,
        old=given.color.old,
        dry=mode.dry,
        forget=mode.forget,
        router=_router(given.router, outputs),
        source=SourceOptions(source.watch, source.prometheus, outputs.get("cloudwatch_namespace", source.cloudwatch)),
        options=_options(given.wait, mode, settings.drain_deadline),
        smoke=_smoke(given.smoke, outputs, is_needed=to is not None and not mode.dry),
        budget=ErrorBudget(error_rate=limit.max_error_rate, turn_p95_s=limit.max_turn, dropped=limit.max_dropped),
        settings=settings,
    )


def smoke_request(given: SmokeCommandArguments) -> SmokeOptions:
    """Raises `SettingsError` for an address or a key that is none."""
    return SmokeOptions(
        url=_call_url(given.url),
        color=given.color,
        color_key=_color_key(given.color_key),
        model=given.model,
        api_key=given.api_key,
        expect=given.expect,
        first_audio_s=given.limit,
        reply_s=given.timeout,
    )


def _router(given: RouterArguments, outputs: Mapping[str, Any]) -> RouterOptions:
    return RouterOptions(
        kind=given.router,
        haproxy=given.haproxy,
        rules=tuple(given.rule or outputs.get("alb_rule_arns", ())),
        targets=parse_targets(given.target) if given.target else outputs.get("target_group_arns", {}),
        namespace=given.namespace,
        resource=given.resource,
        color_label=given.color_label,
    )


def _options(wait: WaitArguments, mode: ModeArguments, drain_deadline_s: int) -> Options:
    try:
        percents = tuple(int(percent) for percent in wait.steps.split(","))
    except ValueError:
        raise SettingsError(f"--steps: {wait.steps!r} is not a list of percents, such as 5,25,100") from None
    if wait.drain_deadline is not None:
        drain_deadline_s = wait.drain_deadline
    try:
        return Options(
            percents=percents,
            hold_s=wait.hold,
            buffer_s=wait.buffer,
            drain_deadline_s=drain_deadline_s,
            watch_deadline_s=wait.deadline or drain_deadline_s + wait.buffer + EXTRA_WATCH_S,
            delete=mode.delete,
            force=mode.force,
        )
    except ValueError as error:
        raise SettingsError(f"{'--steps' if 'weights' in str(error) else '--deadline'}: {error}") from None


def _smoke(given: SmokeArguments, outputs: Mapping[str, Any], *, is_needed: bool) -> SmokeOptions | None:
    url = given.smoke_url or outputs.get("url")
    if is_needed and not (url or given.no_smoke):
        raise SettingsError("--smoke-url: where does the smoke call go? Or give --no-smoke")
    key = _color_key(given.color_key or outputs.get("color_key"))
    if not url or given.no_smoke:
        return None
    return SmokeOptions(
        url=_call_url(url),
        color_key=key,
        model=given.smoke_model,
        api_key=given.api_key,
        expect=given.smoke_expect,
        first_audio_s=given.smoke_limit,
    )


def _call_url(url: str | None) -> str:
    if url is None:
        settings, _ = load_settings(for_server=False)
        return f"{settings.ws_url}{PATH}"
    try:
        check(url)
    except CallFailed as error:
        raise SettingsError(f"--url: {error}") from None
    return url


def _color_key(given: str | None) -> str | None:
    if given and not COLOR_KEY.match(given):
        raise SettingsError(f"{ROUTERS_KEY} is not a key of 16 to 100 letters, digits, - and _ (openssl rand -hex 16)")
    return given or None
