"""The callers' WebSocket: refused with an HTTP status, or accepted and handed to the pod.

This is a plain ASGI application, so that nothing stands between a frame and the call, or between a resume and its call.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus

import structlog
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from voice_agent.call.closing import CloseCode
from voice_agent.call.tokens import is_resume_token
from voice_agent.errors import ConnectionRefused, StoreError
from voice_agent.runtime.pod.admission import store_failed
from voice_agent.runtime.ports import COLOR_HEADER, Arrival, ClientOptions, ResumeCall, StartCall
from voice_agent.web.access import SUBPROTOCOL, Access, check_subprotocols, hashed, is_forwarded
from voice_agent.web.call_socket import CallSocket
from voice_agent.web.caller_facts import caller_facts
from voice_agent.web.parameters import NEW_CALL_PATHS, ConnectRequest, is_resume, parse
from voice_agent.web.ports import AttachedCall, CallPod
from voice_agent.web.refusals import names_of, refuse_upgrade

PATHS = (*NEW_CALL_PATHS, "/realtime/{call_id}")
CALL_PATH = re.compile("/realtime/([^/]+)")
GONE = "voice.gone"
TAKE_OVER = "voice.take_over"
ADDRESS = "voice.address"
TRUSTED = "voice.trusted"
"""The ASGI extensions by which our server lends what tells whether the connection is gone, what takes it over once it
is accepted, where the caller connects from, and whether who asks is believed (see `web.upgrade`)."""

log = structlog.get_logger(__name__)


class RealtimeSocket:
    """Answers every WebSocket request: those to one of `PATHS`, and with 404 any other."""

    def __init__(self, pod: CallPod, access: Access, secret: bytes) -> None:
        self._pod = pod
        self._access = access
        self._secret = secret
        self._headers = names_of(pod.name, pod.color)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request to its end."""
        await receive()  # "websocket.connect", which says nothing
        of_call = CALL_PATH.fullmatch(scope["path"])
        if of_call is None and scope["path"] not in NEW_CALL_PATHS:
            await refuse_upgrade(send, ConnectionRefused(404, "not_found", "There is no WebSocket at this path."))
            return
        try:
            attached = await self._attach(scope, of_call[1] if of_call is not None else None)
        except ConnectionRefused as refusal:
            log.info("refused", status=refusal.status, code=refusal.code, path=scope["path"])
            self._pod.observer.refused(refusal.status, refusal.code)
            await refuse_upgrade(send, refusal, self._headers)
            return
        log_call = log.bind(call_id=attached.call_id)
        try:
            await self._accept(scope, send, attached.call_id)
        except OSError:
            log_call.info("caller left before the upgrade")
            await attached.abandon()
            return
        except BaseException:
            await attached.abandon()
            raise
        transport = _transport_of(scope)
        log_call.info("connected")
        try:
            await attached.serve(transport)
        except Exception:
            log_call.exception("connection failed")
            await transport.close(CloseCode.INTERNAL_ERROR, "internal error")
        else:
            log_call.info("disconnected")
        finally:
            transport.leave()

    async def _attach(self, scope: Scope, path_call_id: str | None) -> AttachedCall:
        headers = Headers(scope=scope)
        self._access.check_origin(headers)
        check_subprotocols(scope["subprotocols"])
        try:
            wanted = self._check(scope, headers, path_call_id)
            if isinstance(wanted, ResumeCall):
                return await self._pod.resume(wanted)
            return await self._pod.start(wanted)
        except StoreError as error:
            raise store_failed(error) from error
        except ConnectionRefused:
            raise
        except Exception as error:
            log.exception("attaching failed")
            raise ConnectionRefused(
                HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "The call could not be taken."
            ) from error

    def _check(self, scope: Scope, headers: Headers, path_call_id: str | None) -> StartCall | ResumeCall:
        """Authenticate first, so that strangers learn nothing; a resume token is proof enough without a key."""
        query: bytes = scope["query_string"]
        resumes = is_resume(scope["raw_path"], query)
        key = None if resumes else self._access.api_key(headers, scope["subprotocols"])
        wanted = parse(query, headers, path_call_id)
        if wanted.call_id is not None:
            return self._resume(wanted, wanted.call_id, scope, headers)
        return StartCall(
            model=wanted.model,
            api_key_hash=key if key is not None else self._access.api_key(headers, scope["subprotocols"]),
            call_key_hash=hashed(wanted.call_key) if wanted.call_key else None,
            last_event=wanted.last_event,
            resumable=wanted.resumable,
            client=_client_options(wanted, scope),
            arrival=_arrival_of(headers),
            caller=caller_facts(query, headers),
            address=scope["extensions"][ADDRESS],
            is_gone=_is_gone_of(scope),
        )

    def _resume(self, wanted: ConnectRequest, call_id: str, scope: Scope, headers: Headers) -> ResumeCall:
        if not wanted.resume_token:
            raise ConnectionRefused(403, "missing_resume_token", "A resume needs its token.", param="resume_token")
        if not is_resume_token(self._secret, call_id, wanted.resume_token):
            raise ConnectionRefused(
                403, "invalid_resume_token", "This token does not belong to the call.", param="resume_token"
            )
        return ResumeCall(
            call_id, wanted.last_event, _client_options(wanted, scope), _arrival_of(headers), _is_gone_of(scope)
        )

    async def _accept(self, scope: Scope, send: Send, call_id: str) -> None:
        await send(
            {
                "type": "websocket.accept",
                "subprotocol": SUBPROTOCOL if SUBPROTOCOL in scope["subprotocols"] else None,
                "headers": [(b"x-call-id", call_id.encode()), *self._headers],
            }
        )


def _client_options(wanted: ConnectRequest, scope: Scope) -> ClientOptions:
    directed = wanted.directed and scope["extensions"][TRUSTED]
    return ClientOptions(wanted.going_away, wanted.resumable_now, wanted.received, directed)


def _arrival_of(headers: Headers) -> Arrival:
    if COLOR_HEADER in headers:
        return Arrival.ASKED_FOR
    return Arrival.FORWARDED if is_forwarded(headers) else Arrival.DIRECT


def _is_gone_of(scope: Scope) -> Callable[[], bool]:
    is_gone: Callable[[], bool] = scope["extensions"][GONE]
    return is_gone


def _transport_of(scope: Scope) -> CallSocket:
    """The accepted connection, past ASGI."""
    take_over: Callable[[], CallSocket] = scope["extensions"][TAKE_OVER]
    return take_over()
