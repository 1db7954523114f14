"""Sockets of other protocols than Realtime go through an edge as they are, such as a phone company's media streams."""

from __future__ import annotations

import asyncio

import pytest
from websockets.exceptions import ConnectionClosed

from tests.edge.rig import edge_rig
from tests.waiting import PATIENCE_S, until

START = '{"event":"start","sequenceNumber":"1","start":{"callSid":"CA1","customParameters":{"token":"t"}}}'
MEDIA = '{"event":"media","media":{"payload":"' + "/" * 216 + '"}}'
APPEND = '{"type":"input_audio_buffer.append","audio":"AAAA"}'
SENT = ['{"event":"connected"}', START, MEDIA, APPEND, b"\x00\xff", b"text as binary", "x" * 300_000]


async def test_the_caller_may_speak_first() -> None:
    """Every message arrives as it was, text as text and binary as binary, without an id, and nothing of it is kept."""
    async with edge_rig() as its:
        async with its.connect("/twilio/media?a=1") as caller:
            pod = await its.pods.connection(0)
            assert (pod.path, pod.query) == ("/twilio/media", {"a": "1"})
            for message in SENT:
                await caller.send(message)
            await until(lambda: len(pod.messages) == len(SENT))
            assert pod.messages == SENT
            assert its.edge.kept_bytes == 0
            await pod.socket.send(MEDIA)
            await pod.socket.send(b"\x01\x02")
            assert [await caller.recv(), await caller.recv()] == [MEDIA, b"\x01\x02"]
        await until(lambda: pod.closed_with == 1000)


@pytest.mark.parametrize("how", ["kill", "close"])
@pytest.mark.parametrize("speaks", [True, False])
async def test_it_ends_with_its_pod(how: str, *, speaks: bool) -> None:
    """At once, so that the phone company asks what to do next; no other pod is asked."""
    async with edge_rig() as its, its.connect("/twilio/media") as caller:
        pod = await its.pods.connection(0)
        if speaks:
            await pod.socket.send(MEDIA)
            assert await caller.recv() == MEDIA
        if how == "kill":
            pod.socket.transport.abort()
        else:
            await pod.socket.close(1012)
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(caller.recv(), PATIENCE_S)
        assert caller.close_code == (1011 if how == "kill" else 1012)
        await until(lambda: not its.edge._calls)
        assert len(its.pods.connections) == 1


async def test_a_server_that_cannot_resume_gets_what_the_client_said() -> None:
    """With the client's own ids, for the errors that name them go back as they are; nothing is kept for another pod."""
    async with edge_rig() as its:
        opening = asyncio.ensure_future(its.connect().__aenter__())
        pod = await its.pods.connection(0)
        await pod.say(type="session.created", event_id="event_abc", session={"id": "sess_1"})
        caller = await opening
        said = ['{"type":"response.create","event_id":"mine"}', APPEND]
        for message in said:
            await caller.send(message)
        await until(lambda: pod.messages == said)
        assert its.edge.kept_bytes == 0
        await caller.close()
