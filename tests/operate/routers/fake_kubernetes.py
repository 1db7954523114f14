"""A Kubernetes API server as small as the routers need it: objects of any kind, merge patches, versions, status.

What it keeps to: a patch with an old `resourceVersion` is a conflict; `generation` counts
changes of the spec; ``/status`` changes the status and nothing else, and the object's own
path everything but the status; `managedFields` says who wrote last, and when.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubernetes import client

Object = dict[str, Any]
Key = tuple[str, str, str]
"""Namespace, plural, name."""
NAMESPACE = "voice"
MERGE_PATCH = "application/merge-patch+json"


@dataclass
class FakeKubernetes:
    """Objects by key; whoever plays a controller puts a function into `controllers`."""

    objects: dict[Key, Object] = field(default_factory=dict)
    controllers: dict[str, Callable[[Object], None]] = field(default_factory=dict)
    """By plural: what a controller does to an object that somebody patched."""
    lag: int = 0
    """A controller sees a patch only after so many reads of the object."""
    before_patch: list[Callable[[], None]] = field(default_factory=list)
    """Done once each, just before a patch is taken: somebody else is quicker."""
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)
    """By method: a status and a reason for every such request."""
    patches: list[tuple[str, str, Object]] = field(default_factory=list)
    """Method's path, content type and body of each patch that was taken."""
    now: str = "2026-01-02T03:04:05Z"
    url: str = ""
    _version: int = 0
    _unseen: dict[Key, int] = field(default_factory=dict)

    def put(self, plural: str, found: Object) -> Object:
        """Make an object as it stands, or replace it."""
        metadata = found.setdefault("metadata", {})
        metadata.setdefault("namespace", NAMESPACE)
        metadata.setdefault("uid", f"uid-{plural}-{metadata['name']}")
        metadata.setdefault("generation", 1)
        self.objects[NAMESPACE, plural, metadata["name"]] = found
        self._bump(found)
        return found

    def at(self, plural: str, name: str) -> Object:
        """An object as it is now."""
        return self.objects[NAMESPACE, plural, name]

    def edit(self, plural: str, name: str, change: Callable[[Object], None]) -> None:
        """Somebody else's change."""
        change(self.at(plural, name))
        self._bump(self.at(plural, name))

    def api_client(self) -> Any:
        """The official client, come here."""
        return client.ApiClient(client.Configuration(host=self.url))

    # --- requests -----------------------------------------------------------------------

    def get(self, key: Key) -> tuple[int, Object]:
        """One object."""
        if key not in self.objects:
            return _status(404, "NotFound")
        if key in self._unseen:
            self._unseen[key] -= 1
            if self._unseen[key] <= 0:
                del self._unseen[key]
                self._control(key)
        return 200, self.objects[key]

    def listed(self, namespace: str, plural: str, query: Mapping[str, list[str]]) -> tuple[int, Object]:
        """All of a kind that fit the selectors."""
        labels, fields = _selector(query.get("labelSelector")), _selector(query.get("fieldSelector"))
        items = [
            found
            for (of, kind, _), found in sorted(self.objects.items())
            if (of, kind) == (namespace, plural)
            and labels.items() <= (found["metadata"].get("labels") or {}).items()
            and all(_at(found, path) == value for path, value in fields.items())
        ]
        return 200, {"kind": "List", "items": items}

    def patch(self, key: Key, subresource: str, content_type: str, manager: str, body: Object) -> tuple[int, Object]:
        """A merge patch."""
        if content_type != MERGE_PATCH:
            return _status(415, "UnsupportedMediaType")
        if key not in self.objects:
            return _status(404, "NotFound")
        if self.before_patch:
            self.before_patch.pop(0)()
        before = self.objects[key]
        version = body.get("metadata", {}).get("resourceVersion")
        if version is not None and version != before["metadata"]["resourceVersion"]:
            return _status(409, "Conflict")
        after = merged(before, body)
        kept = ("spec", "metadata") if subresource == "status" else ("status",)
        for part in kept:
            after.pop(part, None)
            if part in before:
                after[part] = before[part]
        if after.get("spec") != before.get("spec"):
            after["metadata"]["generation"] += 1
        if manager:
            others = [entry for entry in after["metadata"].get("managedFields", []) if entry["manager"] != manager]
            after["metadata"]["managedFields"] = [*others, {"manager": manager, "time": self.now}]
        self.objects[key] = after
        self._bump(after)
        self.patches.append(("/".join(key) + (subresource and f"/{subresource}"), content_type, body))
        answer = deepcopy(after)
        if self.lag:
            self._unseen[key] = self.lag
        else:
            self._control(key)
        return 200, answer

    def _control(self, key: Key) -> None:
        if (controller := self.controllers.get(key[1])) is not None:
            controller(self.objects[key])
            self._bump(self.objects[key])

    def _bump(self, found: Object) -> None:
        self._version += 1
        found["metadata"]["resourceVersion"] = str(self._version)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return deepcopy(result)


@contextmanager
def fake_kubernetes() -> Iterator[FakeKubernetes]:
    """A server for the length of a block."""
    fake, lock = FakeKubernetes(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer("GET")

        def do_PATCH(self) -> None:
            self._answer("PATCH")

        def _answer(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                status, answer = self._handled(method, body)
                told = json.dumps(answer).encode()
            self.send_response(status, answer.get("reason") if status >= 400 else None)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def _handled(self, method: str, body: bytes) -> tuple[int, Object]:
            if method in fake.refuse:
                return _status(*fake.refuse[method])
            asked = urlsplit(self.path)
            query = parse_qs(asked.query)
            match asked.path.strip("/").split("/"):
                case ["apis", _, _, "namespaces", namespace, plural] if method == "GET":
                    return fake.listed(namespace, plural, query)
                case ["apis", _, _, "namespaces", namespace, plural, name] if method == "GET":
                    return fake.get((namespace, plural, name))
                case ["apis", _, _, "namespaces", namespace, plural, name, *sub] if sub in ([], ["status"]):
                    key, content_type = (namespace, plural, name), self.headers["Content-Type"]
                    manager = query.get("fieldManager", [""])[0]
                    return fake.patch(key, "".join(sub), content_type, manager, json.loads(body))
            return _status(404, "NotFound")

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _status(code: int, reason: str) -> tuple[int, Object]:
    return code, {"kind": "Status", "status": "Failure", "code": code, "reason": reason}


def _selector(given: list[str] | None) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in ",".join(given or []).split(",") if pair]
    return {key: value for key, _, value in pairs}


def _at(found: Object, path: str) -> Any:
    for part in path.split("."):
        found = found.get(part, {})
    return found
