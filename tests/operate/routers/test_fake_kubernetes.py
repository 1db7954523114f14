"""The fake API server refuses what a real one refuses."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from tests.operate.routers.fake_kubernetes import MERGE_PATCH, NAMESPACE, FakeKubernetes, merged

PATH: dict[str, Any] = {"group": "apps", "version": "v1", "namespace": NAMESPACE, "plural": "deployments"}


def patch(fake: FakeKubernetes, body: dict[str, Any], *, verb: str = "", **more: Any) -> Any:
    api = client.CustomObjectsApi(fake.api_client())
    ask = getattr(api, f"patch_namespaced_custom_object{verb}")
    return ask(**PATH, name="a", body=body, _content_type=MERGE_PATCH, **more)


def test_an_old_version_is_a_conflict(kubernetes: FakeKubernetes) -> None:
    """And a patch without a version, or with the present one, is taken."""
    made = kubernetes.put("deployments", {"metadata": {"name": "a"}, "spec": {"replicas": 1}})
    version = made["metadata"]["resourceVersion"]
    patch(kubernetes, {"metadata": {"resourceVersion": version}, "spec": {"replicas": 2}})
    with pytest.raises(ApiException) as raised:
        patch(kubernetes, {"metadata": {"resourceVersion": version}, "spec": {"replicas": 3}})
    assert (raised.value.status, kubernetes.at("deployments", "a")["spec"]["replicas"]) == (409, 2)


def test_status_and_spec_are_changed_apart(kubernetes: FakeKubernetes) -> None:
    """Each path leaves the other's part alone; only the spec has generations."""
    kubernetes.put("deployments", {"metadata": {"name": "a"}, "spec": {"replicas": 1}, "status": {"ready": 0}})
    both = {"spec": {"replicas": 5}, "status": {"ready": 5}}
    patch(kubernetes, both, verb="_status")
    now = kubernetes.at("deployments", "a")
    assert (now["spec"]["replicas"], now["status"]["ready"], now["metadata"]["generation"]) == (1, 5, 1)
    patch(kubernetes, {"spec": {"replicas": 6}, "status": {"ready": 6}}, field_manager="me")
    now = kubernetes.at("deployments", "a")
    assert (now["spec"]["replicas"], now["status"]["ready"], now["metadata"]["generation"]) == (6, 5, 2)
    assert now["metadata"]["managedFields"] == [{"manager": "me", "time": kubernetes.now}]


def test_selectors_choose(kubernetes: FakeKubernetes) -> None:
    """By label and by field."""
    for name, color in (("a", "blue"), ("b", "green")):
        kubernetes.put("deployments", {"metadata": {"name": name, "labels": {"color": color}}})
    api = client.CustomObjectsApi(kubernetes.api_client())
    by_label: Any = api.list_namespaced_custom_object(**PATH, label_selector="color=green")
    by_field: Any = api.list_namespaced_custom_object(**PATH, field_selector="metadata.name=a")
    found = [[one["metadata"]["name"] for one in answer["items"]] for answer in (by_label, by_field)]
    assert found == [["b"], ["a"]]


@pytest.mark.parametrize(
    ("target", "change", "result"),
    [
        ({"a": 1}, {"a": None}, {}),
        ({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": "b"}, {"a": {"b": None}}, {"a": {}}),
    ],
)
def test_merge_patches_are_those_of_the_rfc(target: Any, change: Any, result: Any) -> None:
    """Null takes away, lists are replaced as a whole."""
    assert merged(target, change) == result
