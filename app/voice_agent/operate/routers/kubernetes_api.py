"""The Kubernetes API as the routers use it: read an object, change it unless somebody else did, scale it.

Objects are plain JSON. A change carries the `resourceVersion` it was made from, so the API
server refuses it (409) when the object has changed since; it is then read and changed again.

Source: Kubernetes API concepts, "Resource versions" and "Patches"; RFC 7386 (merge patch).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from voice_agent.operate.blocking import optional, run_to_completion
from voice_agent.operate.ports import RouterError
from voice_agent.retry import retry

Object = dict[str, Any]
Change = Callable[[Object], Object | None]
"""From an object to a merge patch for it; None: it is as it should be."""

MERGE_PATCH = "application/merge-patch+json"
MANAGER = "voice-agent-cutover"
"""Under this name the API server remembers which fields the cutover wrote, and when."""
ANSWER_S = 10.0
CONFLICT_DELAYS_S = (0.05, 0.1, 0.2, 0.4)
PASSING = frozenset({409, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object, as the API's paths name it."""

    group: str
    version: str
    plural: str
    kind: str


DEPLOYMENT = Resource("apps", "v1", "deployments", "Deployment")
REPLICA_SET = Resource("apps", "v1", "replicasets", "ReplicaSet")
ENDPOINT_SLICE = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
EVENT = Resource("events.k8s.io", "v1", "events", "Event")
HTTP_ROUTE = Resource("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute")
INGRESS = Resource("networking.k8s.io", "v1", "ingresses", "Ingress")
ROLLOUT = Resource("argoproj.io", "v1alpha1", "rollouts", "Rollout")


class KubernetesApi:
    """One namespace. Every method raises `RouterError` that names the object."""

    def __init__(self, *, namespace: str, context: str | None = None, client: Any = None) -> None:
        """`client`: an ``ApiClient``; None takes the kubeconfig (`context` in it), else the pod's service account."""
        self.namespace = namespace
        self._given = client
        self._context = context
        self._made: Any = None
        optional("kubernetes")

    async def get(self, resource: Resource, name: str) -> Object:
        """One object."""
        answer = await self._ask("get_namespaced_custom_object", resource, name)
        return _object(answer, f"{resource.kind} {self.namespace}/{name}")

    async def listed(
        self, resource: Resource, *, labels: Mapping[str, str] | None = None, fields: Mapping[str, str] | None = None
    ) -> Sequence[Object]:
        """All objects with these labels and fields."""
        selectors = {"label_selector": labels, "field_selector": fields}
        asked = {key: ",".join(f"{k}={v}" for k, v in by.items()) for key, by in selectors.items() if by}
        answer = await self._ask("list_namespaced_custom_object", resource, None, **asked)
        items: Sequence[Object] = _object(answer, f"the list of {resource.plural} in {self.namespace}").get("items", [])
        return items

    async def change(self, resource: Resource, name: str, change: Change, *, subresource: str = "") -> Object:
        """Read it, patch it, and do both again when somebody else was quicker. Returns the object as it is then."""
        verb = f"patch_namespaced_custom_object{subresource and '_' + subresource}"

        async def once() -> Object:
            found = await self.get(resource, name)
            patch = change(found)
            if patch is None:
                return found
            version = {"resourceVersion": found["metadata"]["resourceVersion"]}
            body = {**patch, "metadata": {**patch.get("metadata", {}), **version}}
            answer = await self._ask(verb, resource, name, body=body, field_manager=MANAGER, _content_type=MERGE_PATCH)
            return _object(answer, f"{resource.kind} {self.namespace}/{name}")

        try:
            return await retry(
                once,
                CONFLICT_DELAYS_S,
                for_s=lambda error: math.inf if isinstance(error, _Conflict) else 0,
                now_s=asyncio.get_running_loop().time,
                sleep=asyncio.sleep,
            )
        except _Conflict:
            raise RouterError(
                f"{resource.kind} {self.namespace}/{name} was not changed: somebody else changes it again and again",
                retryable=True,
            ) from None

    async def ready_endpoints(self, service: str) -> int:
        """How many addresses of a Service are ready, by its EndpointSlices; each pod counts once."""
        slices = await self.listed(ENDPOINT_SLICE, labels={"kubernetes.io/service-name": service})
        ready = set()
        for endpoint in (endpoint for found in slices for endpoint in found.get("endpoints") or []):
            # Not said means ready (EndpointConditions).
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                target = endpoint.get("targetRef") or {}
                ready.add(target.get("uid") or target.get("name") or endpoint["addresses"][0])
        return len(ready)

    async def scale_to_zero(self, deployment: str) -> str | None:
        """Keep a Deployment, but none of its pods; returns what was done, None if it was so already."""
        replicas: list[int] = []

        def change(found: Object) -> Object | None:
            replicas[:] = [found["spec"].get("replicas", 1)]
            return {"spec": {"replicas": 0}} if replicas[0] else None

        await self.change(DEPLOYMENT, deployment, change)
        if not replicas[0]:
            return None
        return f"scale Deployment {self.namespace}/{deployment}: {replicas[0]} -> 0 replicas (kept, not deleted)"

    # --- requests -----------------------------------------------------------------------

    async def _ask(self, verb: str, resource: Resource, name: str | None, **more: Any) -> Any:
        # The library calls it "custom", but it is the path of every API group.
        path = {"group": resource.group, "version": resource.version, "plural": resource.plural}
        named = {} if name is None else {"name": name}
        what = f"{resource.kind} {self.namespace}/{name}" if name else f"{resource.plural} in {self.namespace}"
        return await run_to_completion(self._asked, verb, what, {**path, "namespace": self.namespace, **named, **more})

    def _asked(self, verb: str, what: str, arguments: dict[str, Any]) -> Any:
        kubernetes = optional("kubernetes")
        exceptions, transport = optional("kubernetes.client.exceptions"), optional("urllib3.exceptions")
        api = kubernetes.client.CustomObjectsApi(self._client(kubernetes))
        try:
            return getattr(api, verb)(**arguments, _request_timeout=ANSWER_S)
        except exceptions.ApiException as error:
            raise _refused(verb.split("_", 1)[0], what, error) from error
        except (transport.HTTPError, OSError) as error:
            raise RouterError(
                f"{what}: the Kubernetes API does not answer: {_one_line(error)}", retryable=True
            ) from error

    def _client(self, kubernetes: Any) -> Any:
        if self._given is not None:
            return self._given
        if self._made is None:
            config = kubernetes.config
            # It does not look closely at what it reads: a file of another shape is an error of its own code.
            shapeless = (TypeError, AttributeError, KeyError, ValueError)
            broken = (config.ConfigException, optional("yaml").YAMLError, OSError, *shapeless)
            # The library has a function for both, which prints to standard output on its way.
            cluster = kubernetes.client.Configuration()
            try:
                config.load_kube_config(context=self._context, client_configuration=cluster)
            except broken as error:
                try:
                    config.load_incluster_config(client_configuration=cluster)
                except broken:
                    raise RouterError(
                        f"there is no access to a Kubernetes cluster: {_one_line(error)}; set KUBECONFIG as for "
                        "kubectl, or run in a pod with a service account"
                    ) from error
            self._made = kubernetes.client.ApiClient(cluster)
        return self._made


class _Conflict(RouterError):
    """The object has changed since it was read."""


def _refused(verb: str, what: str, error: Any) -> RouterError:
    reason = " ".join(str(error.reason or "no reason given").split())
    if error.status == 409:
        return _Conflict(f"{what} was changed by somebody else", retryable=True)
    if error.status == 404:
        return RouterError(f"there is no {what}; check the name and the namespace, and that its kind is installed")
    if error.status in {401, 403}:
        return RouterError(f"the Kubernetes API does not allow to {verb} {what} ({error.status}); grant it by RBAC")
    told = f"the Kubernetes API refused to {verb} {what}: {error.status} {reason}"
    return RouterError(told, retryable=error.status in PASSING)


def _object(answer: Any, what: str) -> Object:
    if not isinstance(answer, dict):
        raise RouterError(f"{what}: what answers is no Kubernetes API, or a proxy in front of it")
    return answer


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
