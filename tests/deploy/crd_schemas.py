"""Schemas of the custom resources in `k8s/`, written by hand: as much as is used, and nothing beyond.

An unknown field is refused. Where the operators know more fields than stand here, add
what you need after a look into their reference: this is a guard against misspelling, not
a copy of their schemas.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

STRING: Schema = {"type": "string", "minLength": 1}
WHOLE: Schema = {"type": "integer", "minimum": 0}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
DURATION: Schema = {"type": "string", "pattern": r"^([0-9]+(h|m|s|ms))+$"}
STRINGS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}


def record(*required: str, **fields: Schema) -> Schema:
    """An object that has these fields and no others."""
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": fields}


def several(of: Schema, at_least: int = 1, at_most: int = 64) -> Schema:
    """A list."""
    return {"type": "array", "minItems": at_least, "maxItems": at_most, "items": of}


def word(*allowed: str) -> Schema:
    """One of these."""
    return {"enum": list(allowed)}


METADATA = record("name", "namespace", name=STRING, namespace=STRING, labels=STRINGS, annotations=STRINGS)


def resource(api_version: str, kind: str, spec: Schema) -> Schema:
    """A whole object."""
    return record(
        "apiVersion",
        "kind",
        "metadata",
        "spec",
        apiVersion=word(api_version),
        kind=word(kind),
        metadata=METADATA,
        spec=spec,
    )


GATEWAY = record(
    "gatewayClassName",
    "listeners",
    gatewayClassName=STRING,
    infrastructure=record(annotations=STRINGS),
    listeners=several(
        record(
            "name",
            "port",
            "protocol",
            name=STRING,
            hostname=STRING,
            port=PORT,
            protocol=word("HTTP", "HTTPS", "TLS"),
            tls=record(
                "certificateRefs",
                mode=word("Terminate", "Passthrough"),
                certificateRefs=several(record("name", kind=word("Secret"), name=STRING, namespace=STRING)),
            ),
            allowedRoutes=record(namespaces=record("from", **{"from": word("All", "Same", "Selector")})),
        )
    ),
)

MATCH_TYPES = word("Exact", "RegularExpression")
HTTP_ROUTE = record(
    "parentRefs",
    "rules",
    parentRefs=several(record("name", name=STRING, namespace=STRING, sectionName=STRING)),
    hostnames=several(STRING, at_most=16),
    rules=several(
        record(
            "matches",
            "backendRefs",
            name=STRING,
            matches=several(
                record(
                    "path",
                    path=record(
                        "type",
                        "value",
                        type=word("Exact", "PathPrefix", "RegularExpression"),
                        value={"type": "string", "pattern": "^/"},
                    ),
                    headers=several(record("name", "value", type=MATCH_TYPES, name=STRING, value=STRING)),
                    queryParams=several(record("name", "value", type=MATCH_TYPES, name=STRING, value=STRING)),
                    method=word("GET", "POST"),
                )
            ),
            timeouts=record(request=DURATION, backendRequest=DURATION),
            backendRefs=several(
                record("name", "port", name=STRING, port=PORT, weight={**WHOLE, "maximum": 1_000_000}), at_most=16
            ),
            sessionPersistence=record(
                sessionName={**STRING, "maxLength": 128},
                type=word("Cookie", "Header"),
                absoluteTimeout=DURATION,
                idleTimeout=DURATION,
                cookieConfig=record(lifetimeType=word("Permanent", "Session")),
            ),
        ),
        at_most=16,
    ),
)

SELECTOR = record(
    matchLabels=STRINGS,
    matchExpressions=several(
        record(
            "key",
            "operator",
            key=STRING,
            operator=word("In", "NotIn", "Exists", "DoesNotExist"),
            values=several(STRING),
        )
    ),
)
RELABELING = several(
    record(
        sourceLabels=several(STRING),
        targetLabel=STRING,
        regex=STRING,
        replacement=STRING,
        action=word("replace", "keep", "drop", "labeldrop", "labelkeep", "labelmap"),
    )
)
SERVICE_MONITOR = record(
    "selector",
    "endpoints",
    selector=SELECTOR,
    namespaceSelector=record(matchNames=several(STRING)),
    jobLabel=STRING,
    endpoints=several(
        record(
            "port",
            "path",
            port=STRING,
            path=STRING,
            interval=DURATION,
            scrapeTimeout=DURATION,
            honorLabels={"type": "boolean"},
            relabelings=RELABELING,
            metricRelabelings=RELABELING,
        )
    ),
)

RULE = {
    "oneOf": [
        record("record", "expr", record={"type": "string", "pattern": "^voice:"}, expr=STRING, labels=STRINGS),
        record(
            "alert",
            "expr",
            "labels",
            "annotations",
            **{"for": DURATION},
            alert={"type": "string", "pattern": "^Voice[A-Z][A-Za-z]+$"},
            expr=STRING,
            labels=record("severity", severity=word("page", "ticket")),
            annotations=record("summary", "description", "runbook", summary=STRING, description=STRING, runbook=STRING),
        ),
    ]
}
PROMETHEUS_RULE = record(
    "groups", groups=several(record("name", "rules", name=STRING, interval=DURATION, rules=several(RULE)))
)

ARGUMENT = record("name", name=STRING, value=STRING, valueFrom=record(podTemplateHashValue=word("Latest", "Stable")))
ANALYSIS_TEMPLATE = record(
    "metrics",
    args=several(ARGUMENT),
    metrics=several(
        record(
            "name",
            "provider",
            "successCondition",
            name=STRING,
            interval=DURATION,
            initialDelay=DURATION,
            count=WHOLE,
            failureLimit=WHOLE,
            consecutiveErrorLimit=WHOLE,
            inconclusiveLimit=WHOLE,
            successCondition=STRING,
            failureCondition=STRING,
            provider=record("prometheus", prometheus=record("address", "query", address=STRING, query=STRING)),
        )
    ),
)

STEP = {
    "oneOf": [
        record("setWeight", setWeight={**WHOLE, "maximum": 100}),
        record("setCanaryScale", setCanaryScale=record("weight", weight={**WHOLE, "maximum": 100})),
        record("pause", pause=record(duration=DURATION)),
    ]
}
ROLLOUT = record(
    "selector",
    "template",
    "strategy",
    replicas=WHOLE,
    minReadySeconds=WHOLE,
    progressDeadlineSeconds=WHOLE,
    revisionHistoryLimit=WHOLE,
    selector=SELECTOR,
    # A pod template like any other: `kubernetes_validate` sees it as a Deployment's.
    template={"type": "object"},
    strategy=record(
        "canary",
        canary=record(
            "stableService",
            "canaryService",
            "steps",
            "trafficRouting",
            stableService=STRING,
            canaryService=STRING,
            maxSurge=WHOLE,
            maxUnavailable=WHOLE,
            scaleDownDelaySeconds=WHOLE,
            abortScaleDownDelaySeconds=WHOLE,
            trafficRouting=record(
                "plugins",
                plugins=record(
                    "argoproj-labs/gatewayAPI",
                    **{
                        "argoproj-labs/gatewayAPI": record("httpRoute", "namespace", httpRoute=STRING, namespace=STRING)
                    },
                ),
            ),
            analysis=record(
                "templates",
                templates=several(record("templateName", templateName=STRING)),
                startingStep=WHOLE,
                args=several(ARGUMENT),
            ),
            steps=several(STEP),
        ),
    ),
)

GATEWAY_API = "gateway.networking.k8s.io/v1"
OPERATOR = "monitoring.coreos.com/v1"
ARGO = "argoproj.io/v1alpha1"
SCHEMAS: dict[str, Schema] = {
    "Gateway": resource(GATEWAY_API, "Gateway", GATEWAY),
    "HTTPRoute": resource(GATEWAY_API, "HTTPRoute", HTTP_ROUTE),
    "ServiceMonitor": resource(OPERATOR, "ServiceMonitor", SERVICE_MONITOR),
    "PrometheusRule": resource(OPERATOR, "PrometheusRule", PROMETHEUS_RULE),
    "Rollout": resource(ARGO, "Rollout", ROLLOUT),
    "AnalysisTemplate": resource(ARGO, "AnalysisTemplate", ANALYSIS_TEMPLATE),
}
