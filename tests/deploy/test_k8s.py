"""Every kustomization builds, fits the API's schemas, and has no mistake that the lint knows."""

from __future__ import annotations

import copy
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it carries no types
import kubernetes_validate  # type: ignore[import-untyped]  # the same
import pytest
import yaml

from tests.deploy import network_lint, routing_lint, watching_lint, workload_lint
from tests.deploy.crd_schemas import SCHEMAS
from tests.deploy.manifests import K8S, KUBECTL, ROOT, Object, build, containers, kustomizations, manifests, title
from voice_agent.host.deletion_cost import ANNOTATION, SERVICE_ACCOUNT
from voice_agent.operate.routers.argo import _State
from voice_agent.settings import known_names

LINT = (*workload_lint.CHECKS, *routing_lint.CHECKS, *network_lint.CHECKS, *watching_lint.CHECKS)


def check_schema(it: Object) -> None:
    """Raises for a field that the API does not know, and for a value of a wrong type."""
    if it["kind"] in SCHEMAS:
        jsonschema.validate(it, SCHEMAS[it["kind"]])
    if it["kind"] == "Rollout":
        # What a Rollout's pods look like, the API knows from Deployments.
        spec = {key: it["spec"][key] for key in ("selector", "template")}
        it = {**it, "apiVersion": "apps/v1", "kind": "Deployment", "spec": spec}
    if it["kind"] not in SCHEMAS:
        kubernetes_validate.validate(it, "1.37", strict=True)


def test_all_parts_of_the_issue_are_there() -> None:
    """A folder that somebody moves away is missed."""
    assert {
        "base",
        "namespace",
        "overlays/blue",
        "overlays/green",
        "routing/gateway-api",
        "routing/gateway-api-sticky",
        "routing/aws-load-balancer-controller",
        "routing/client-ip",
        "redis",
        "edge",
        "routing/gateway-api-edge",
        "routing/aws-load-balancer-controller-edge",
        "argo-rollouts",
        "argo-rollouts-cutover",
        "monitoring",
        "components/cloudwatch",
        "components/cutover",
        "components/deletion-cost/guard",
        "components/egress-https",
        "cutover-job/to-blue",
        "cutover-job/to-green",
    } <= set(kustomizations())


@pytest.mark.parametrize("folder", kustomizations())
def test_every_object_fits_its_schema(folder: str) -> None:
    """`kubectl kustomize` builds it, and there is no field that the API does not know."""
    for it in build(folder):
        check_schema(it)


def test_examples_fit_their_schema() -> None:
    """Secrets that an operator copies are right, and hold nothing that could be one."""
    for it in manifests().secrets:
        kubernetes_validate.validate(it, "1.37", strict=True)
        assert all("replace" in value for value in it["stringData"].values())


@pytest.mark.parametrize("check", LINT, ids=lambda check: check.__name__)
def test_lint_finds_nothing(check: Any) -> None:
    """Nothing is wrong with what is built, as far as this check knows."""
    assert list(check(manifests())) == []


def test_names_that_the_cutover_relies_on() -> None:
    """Deployments, Services, labels, route and annotations are called what the tool looks for."""
    known = manifests()
    for color in ("blue", "green"):
        wanted = {"app.kubernetes.io/name": "voice-agent", "voice-agent/color": color}
        for kind in ("Deployment", "Service"):
            assert wanted.items() <= known.one(kind, f"voice-agent-{color}")["metadata"]["labels"].items()
    assert known.one("HTTPRoute", "voice-agent")
    notes = known.one("Ingress", "voice-agent")["metadata"]["annotations"]
    assert {f"alb.ingress.kubernetes.io/actions.voice-{name}" for name in ("first", "resume")} <= set(notes)


def test_colors_differ_in_their_color_only() -> None:
    """Blue and green are one thing under two names; only their image may be another."""
    blue, green = (yaml.safe_dump(build(f"overlays/{color}")) for color in ("blue", "green"))
    assert green.replace("green", "blue") == blue


def test_every_color_takes_its_own_image() -> None:
    """A version is set in one overlay and leaves the other as it is."""
    for color in ("blue", "green"):
        images = yaml.safe_load((K8S / "overlays" / color / "kustomization.yaml").read_text())["images"]
        assert [(image["name"], bool(image["newTag"])) for image in images] == [("voice-agent", True)]


def test_example_names_settings_of_the_server() -> None:
    """The Secret's keys are variables that the server reads."""
    secret = next(it for it in manifests().secrets if it["metadata"]["name"] == "voice-agent")
    assert set(secret["stringData"]) <= set(known_names())


def test_probes_come_sooner_than_the_load_balancer() -> None:
    """A pod that drains is unready within ten seconds, and one that hangs is given a minute."""
    container = containers(manifests().one("Deployment", "voice-agent-blue")["spec"]["template"])[0]
    ready, live = container["readinessProbe"], container["livenessProbe"]
    assert ready["periodSeconds"] * ready["failureThreshold"] <= 10
    assert live["periodSeconds"] * live["failureThreshold"] >= 60


def test_user_is_that_of_the_image() -> None:
    """The uid in the manifests is the one that the Dockerfile makes."""
    spec = manifests().one("Deployment", "voice-agent-blue")["spec"]["template"]["spec"]
    assert f"USER {spec['securityContext']['runAsUser']}:" in (ROOT / "Dockerfile").read_text()


def test_only_first_connects_may_be_sticky_in_the_sticky_variant() -> None:
    """The experimental field is in its own variant, on the last rule, for 300 s."""
    plain, sticky = (build(f"routing/{name}") for name in ("gateway-api", "gateway-api-sticky"))
    rules = next(it for it in sticky if it["kind"] == "HTTPRoute")["spec"]["rules"]
    assert [rule.get("sessionPersistence", {}).get("absoluteTimeout") for rule in rules] == [None, None, None, "300s"]
    bare = copy.deepcopy(sticky)
    next(it for it in bare if it["kind"] == "HTTPRoute")["spec"]["rules"][3].pop("sessionPersistence")
    assert bare == plain


def test_readme_names_every_kustomization() -> None:
    """Whoever looks for a variant finds it in the README."""
    text = (K8S / "README.md").read_text()
    assert [name for name in kustomizations() if name not in text] == []


def test_titles_are_unique_within_a_folder() -> None:
    """No two objects of one build are the same thing."""
    for folder in kustomizations():
        titles = [title(it) for it in build(folder)]
        assert len(titles) == len(set(titles))


def test_the_cutovers_rollout_offers_what_the_cutover_asks_for() -> None:
    """Each weight that waits to be told to go on; its revisions carry the label that the pods take their color from.

    The smoke call of either color comes to the new revision, on the paths that a call may begin and go on at.
    """
    built = build("argo-rollouts-cutover")
    (rollout,) = [it for it in built if it["kind"] == "Rollout"]
    by_name = [
        (match["headers"][0]["value"].partition(":")[0], match["path"]["value"], rule["backendRefs"][0]["name"])
        for it in built
        if it["kind"] == "HTTPRoute"
        for rule in it["spec"]["rules"]
        for match in rule["matches"]
        if "headers" in match
    ]
    paths = ("/realtime", "/v1/realtime")
    assert sorted(by_name) == [(color, path, "voice-agent-canary") for color in ("blue", "green") for path in paths]
    canary = rollout["spec"]["strategy"]["canary"]
    template = rollout["spec"]["template"]
    state = _State({**rollout, "metadata": rollout["metadata"]}, [], "voice-agent/release")
    assert set(state.offered) == {0, 5, 25, 100}
    assert "analysis" not in canary
    assert state.new == template["metadata"]["labels"]["voice-agent/release"] == "blue"
    names = [env["name"] for env in template["spec"]["containers"][0]["env"]]
    assert len(names) == len(set(names))


def test_a_color_that_tells_its_calls_may_do_so_and_nothing_else(tmp_path: Path) -> None:
    """With the component it has the name, the token and the Role; the guard lets it change its own annotation alone."""
    folders = {name: os.path.relpath(K8S / name, tmp_path) for name in ("overlays/blue", "components/deletion-cost")}
    overlay = {"resources": [folders["overlays/blue"]], "components": [folders["components/deletion-cost"]]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    done = subprocess.run([KUBECTL, "kustomize", str(tmp_path)], capture_output=True, text=True, check=True)
    made = [it for it in yaml.safe_load_all(done.stdout) if it]
    for it in made:
        check_schema(it)
    one = {it["kind"]: it for it in made}
    spec = one["Deployment"]["spec"]["template"]["spec"]
    container = spec["containers"][0]
    name = next(it for it in container["env"] if it["name"] == "VOICE_POD_DELETION_COST")
    assert name["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    [mount] = [it for it in container["volumeMounts"] if it["mountPath"] == str(SERVICE_ACCOUNT)]
    [volume] = [it for it in spec["volumes"] if it["name"] == mount["name"]]
    parts = [part for source in volume["projected"]["sources"] for part in source.values()]
    files = {part.get("path") or part["items"][0]["path"] for part in parts}
    assert files == {"token", "ca.crt", "namespace"}
    assert one["Role"]["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}]
    binding = one["RoleBinding"]
    assert binding["roleRef"]["name"] == one["Role"]["metadata"]["name"]
    assert [it["name"] for it in binding["subjects"]] == [spec["serviceAccountName"]]
    policy = next(it for it in build("components/deletion-cost/guard") if it["kind"] == "ValidatingAdmissionPolicy")
    who = f"system:serviceaccount:voice:{spec['serviceAccountName']}"
    [condition] = policy["spec"]["matchConditions"]
    begins = re.search(r"startsWith\('(.*)'\)", condition["expression"])
    assert begins is not None
    assert who.startswith(begins[1])
    assert any(ANNOTATION in it["expression"] for it in policy["spec"]["validations"])
