"""An AWS Application Load Balancer: the weights of its listener rules.

A color of weight 0 keeps its group in the rule, so that a cookie still leads to it: group
stickiness outranks weights. A color that is not named loses its group, and with it its
cookies. Each rule keeps its own stickiness, also while it forwards to one group alone (the
API takes and returns `TargetGroupStickinessConfig` for a single group). Only if the rule of
first connects has become a plain forward meanwhile, which knows no stickiness at all, does
the order of the rules decide: the first gets 300 s again when a second group comes back.

The API changes one rule at a time and knows no condition "unless it was changed": so what
was written is read again, and rules that differ are reported by `read` and healed by `write`.

Sources: Elastic Load Balancing API reference, ModifyRule, ForwardActionConfig,
TargetGroupTuple (weight 0 to 999), DescribeTargetHealth (reasons).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from voice_agent.operate import aws
from voice_agent.operate.blocking import run_to_completion
from voice_agent.operate.ports import RouterError, Routing
from voice_agent.operate.routers.weights import in_words, percents, same_split

Action = dict[str, Any]

GREATEST_WEIGHT = 999
STICKY_S = 300
NOT_IN_USE = "Target.NotInUse"
"""No listener forwards to the group, so nobody checks it."""
CHECKS_OFF = "Target.HealthCheckDisabled"


class AlbRouter:
    """`Router` on listener rules."""

    def __init__(self, *, rules: Sequence[str], target_groups: Mapping[str, str], client: Any = None) -> None:
        """`rules`: ARNs of the weighted rules, first connects first. `target_groups`: ARNs by color.

        `client` is boto3's ``elbv2`` client; None makes one. Raises `RouterError` for ARNs that are none.
        """
        groups = list(target_groups.values())
        if not rules or len(groups) < 2:
            raise RouterError("an ALB needs the ARN of at least one weighted rule, and a target group for each color")
        for arn, kind in [*((arn, "listener-rule/") for arn in rules), *((arn, "targetgroup/") for arn in groups)]:
            if not arn.startswith("arn:") or f":{kind}" not in arn:
                raise RouterError(f"{arn!r} is not the ARN of a {'rule' if kind[0] == 'l' else 'target group'}")
        if len(set(rules)) < len(rules) or len(set(groups)) < len(groups):
            raise RouterError("an ALB's rules and target groups must each be named once")
        self._rules = tuple(rules)
        self._groups = dict(target_groups)
        self._colors = {arn: color for color, arn in target_groups.items()}
        self._client = client if client is not None else aws.client("elbv2", error=RouterError)

    @property
    def name(self) -> str:
        """For people and for the journal."""
        balancer = self._rules[0].split("listener-rule/", 1)[1].split("/")
        return f"alb {balancer[1] if len(balancer) > 1 else balancer[0]}"

    async def read(self) -> Routing:
        """As `Router.read`. Raises `RouterError` also for a rule that forwards to a group of no color."""
        return await run_to_completion(self._read)

    async def changes(self, routing: Routing) -> Sequence[str]:
        """A line for each rule that is not as it should be."""
        return await run_to_completion(self._changes, self._checked(routing))

    async def write(self, routing: Routing) -> None:
        """Change one rule after the other, and read all of them again."""
        await run_to_completion(self._write, self._checked(routing))

    async def healthy_targets(self, color: str) -> int | None:
        """How many are `healthy`; None for a group that no listener uses, or whose checks are switched off."""
        return await run_to_completion(self._healthy, color)

    async def retire(self, color: str) -> Sequence[str]:
        """Deregister every target; the group itself stays. Raises `RouterError` while a rule leads to it.

        Who registers targets by itself (an Auto Scaling group, ECS, the AWS Load Balancer Controller) has to be
        scaled down, too: it would register them again.
        """
        return await run_to_completion(self._retire, color)

    # --- rules --------------------------------------------------------------------------

    def _read(self) -> Routing:
        found = [percents(self._weights(rule)) for rule in self._described()]
        differing = [self._short(arn) for arn, split in zip(self._rules, found, strict=True) if split != found[0]]
        return Routing(found[0], tuple(differing))

    def _changes(self, routing: Routing) -> list[str]:
        lines = []
        for place, rule in enumerate(self._described()):
            now = self._weights(rule)
            if not same_split(now, routing.weights):
                sticky = self._stickiness(rule, place, routing)
                renewed = " and sticky again" if sticky != _forward(rule)["ForwardConfig"].get(STICKINESS) else ""
                change = f"{in_words(now)} -> {in_words(routing.weights)}"
                lines.append(f"modify-rule {self._short(self._rules[place])}: {change}{renewed}")
        return lines

    def _write(self, routing: Routing) -> None:
        for place, (arn, rule) in enumerate(zip(self._rules, self._described(), strict=True)):
            if same_split(self._weights(rule), routing.weights):
                continue
            actions = [self._action(action, rule, place, routing) for action in rule["Actions"]]
            with aws.sentences(f"rule {self._short(arn)} was not changed", RouterError):
                self._client.modify_rule(RuleArn=arn, Actions=actions)
        if left := self._changes(routing):
            raise RouterError(
                f"the ALB is not as it was told to be, somebody else changes it: {left[0]}", retryable=True
            )

    def _described(self) -> list[dict[str, Any]]:
        with aws.sentences("the rules of the ALB cannot be read", RouterError):
            answer = self._client.describe_rules(RuleArns=list(self._rules))
        found = {rule["RuleArn"]: rule for rule in answer["Rules"]}
        for arn in self._rules:
            if arn not in found:
                raise RouterError(f"there is no rule {arn}; name the rules that the listener has now")
        return [found[arn] for arn in self._rules]

    def _weights(self, rule: Mapping[str, Any]) -> dict[str, int]:
        weights: dict[str, int] = {}
        for group in _forward(rule)["ForwardConfig"]["TargetGroups"]:
            color = self._colors.get(group["TargetGroupArn"])
            if color is None:
                raise RouterError(
                    f"rule {self._short(rule['RuleArn'])} forwards to {group['TargetGroupArn']}, which is no color's "
                    "target group; name the groups of all colors"
                )
            weights[color] = int(group.get("Weight", 1))
        if sum(weights.values()) <= 0 or max(weights.values()) > GREATEST_WEIGHT:
            raise RouterError(
                f"rule {self._short(rule['RuleArn'])} has weights that make no split ({in_words(weights)}); "
                f"they must be 0 to {GREATEST_WEIGHT}, and one of them more than 0"
            )
        return weights

    def _action(self, action: Action, rule: Mapping[str, Any], place: int, routing: Routing) -> Action:
        """An action as it must be sent: only the groups of a forward change."""
        if action["Type"] == "authenticate-oidc":
            # The secret is never told, and has to be given or referred to.
            oidc = {**action["AuthenticateOidcConfig"], "UseExistingClientSecret": True}
            return {**action, "AuthenticateOidcConfig": oidc}
        if action["Type"] != "forward":
            return action
        groups = [{"TargetGroupArn": self._groups[color], "Weight": weight} for color, weight in _sorted(routing)]
        config = {**action.get("ForwardConfig", {}), "TargetGroups": groups}
        if (sticky := self._stickiness(rule, place, routing)) is not None:
            config[STICKINESS] = sticky
        # The short form of a forward to one group would contradict the long one.
        return {**{key: value for key, value in action.items() if key != "TargetGroupArn"}, "ForwardConfig": config}

    def _stickiness(self, rule: Mapping[str, Any], place: int, routing: Routing) -> Any:
        """What the rule has; the first rule's own again if that was lost while it had one group."""
        config = _forward(rule)["ForwardConfig"]
        # What is switched off on purpose keeps its duration.
        lost = config.get(STICKINESS) in (None, {"Enabled": False})
        if lost and len(config["TargetGroups"]) == 1 and place == 0 and len(routing.weights) > 1:
            return {"Enabled": True, "DurationSeconds": STICKY_S}
        return config.get(STICKINESS)

    def _checked(self, routing: Routing) -> Routing:
        for color in routing.weights:
            self._group(color)
        return routing

    def _short(self, arn: str) -> str:
        """The end of a rule's ARN, and which it is of those given."""
        return f"{self._rules.index(arn) + 1} ({arn.rsplit('/', 1)[-1]})"

    # --- targets ------------------------------------------------------------------------

    def _healthy(self, color: str) -> int | None:
        targets = self._targets(color)
        if any(target["TargetHealth"].get("Reason") in {NOT_IN_USE, CHECKS_OFF} for target in targets):
            return None
        return len([target for target in targets if target["TargetHealth"]["State"] == "healthy"])

    def _retire(self, color: str) -> list[str]:
        if self._group(color) and any(color in self._weights(rule) for rule in self._described()):
            raise RouterError(f"{color} is still in a rule of the ALB; forward to another color alone first")
        there = [
            {key: target["Target"][key] for key in ("Id", "Port", "AvailabilityZone") if key in target["Target"]}
            for target in self._targets(color)
            if target["TargetHealth"]["State"] != "draining"
        ]
        if there:
            with aws.sentences(f"the targets of {color} were not deregistered", RouterError):
                self._client.deregister_targets(TargetGroupArn=self._groups[color], Targets=there)
        return [f"deregister-targets {color}: {target['Id']}:{target.get('Port', '')}".rstrip(":") for target in there]

    def _targets(self, color: str) -> Sequence[Mapping[str, Any]]:
        with aws.sentences(f"the targets of {color} cannot be read", RouterError):
            answer = self._client.describe_target_health(TargetGroupArn=self._group(color))
        targets: Sequence[Mapping[str, Any]] = answer["TargetHealthDescriptions"]
        return targets

    def _group(self, color: str) -> str:
        if color not in self._groups:
            raise RouterError(f"{color} has no target group; there are groups for: {', '.join(sorted(self._groups))}")
        return self._groups[color]


STICKINESS = "TargetGroupStickinessConfig"


def _forward(rule: Mapping[str, Any]) -> Action:
    """The rule's only forward, in its long form. Raises `RouterError`."""
    forwards: list[Action] = [action for action in rule["Actions"] if action["Type"] == "forward"]
    if len(forwards) != 1:
        raise RouterError(f"rule {rule['RuleArn']} does not forward: it is none of the weighted rules")
    forward = forwards[0]
    config = forward.get("ForwardConfig") or {"TargetGroups": [{"TargetGroupArn": forward["TargetGroupArn"]}]}
    return {**forward, "ForwardConfig": config}


def _sorted(routing: Routing) -> Iterable[tuple[str, int]]:
    return sorted(routing.weights.items())
