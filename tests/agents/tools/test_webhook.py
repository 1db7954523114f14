"""Webhooks: whatever byte a connection breaks at, what is done is done once. Of `webhook` and `exchange`."""

from __future__ import annotations

import asyncio
import base64
import hmac
from contextlib import suppress
from typing import Any

import httpx
import orjson
import pytest

from tests.agents.tools.cutting import CuttingNetwork, Fault, Tables, answer
from tests.agents.tools.test_signing import SECRET
from tests.kit.recording_call import RecordingCall
from tests.waiting import until
from voice_agent.agents.tools import webhook
from voice_agent.agents.tools.outcome import MAX_OUTPUT_BYTES
from voice_agent.agents.tools.webhook import WebhookTool
from voice_agent.agents.tools.webhook_settings import WebhookSettings
from voice_agent.kit.call import IdempotencyKey
from voice_agent.kit.tools import ToolError

URL = "http://tables.test/book?house=1"
VERIFY = "http://tables.test/booked?house=1"
NOW_S = 1_700_000_000
CALL = RecordingCall()
KEY = IdempotencyKey("call_a:asked_1")
AGAIN = IdempotencyKey("call_a:asked_1", is_repeat=True)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked again is asked again at once."""
    monkeypatch.setattr(webhook, "FIRST_BACKOFF_S", 0.0)


def booking(network: CuttingNetwork, **more: Any) -> WebhookTool:
    """A webhook on this network."""
    fields = {"name": "book", "url": URL, "secret": SECRET, **more}
    return WebhookTool(WebhookSettings.model_validate(fields), network.client(), wall_s=lambda: NOW_S)


async def asked(network: CuttingNetwork, key: IdempotencyKey = KEY, **more: Any) -> Any:
    """What it gives."""
    return await booking(network, **more).run(CALL, {"people": 2}, key)


async def test_what_is_sent_is_signed_and_has_the_key() -> None:
    """The model's arguments stand in the body, and nowhere else."""
    network = CuttingNetwork(Tables())
    arguments = {"url": "http://evil.test", "idempotency-key": "mine", "headers": {"host": "evil.test"}}
    tool = booking(network, headers={"Authorization": "Bearer x"})
    assert await tool.run(CALL, arguments, KEY) == {"table": 1}
    [got] = network.received
    assert (got.method, got.target) == ("POST", "/book?house=1")
    assert orjson.loads(got.body) == {
        "type": "tool.called",
        "data": {"tool": "book", "call_id": "call_a", "arguments": arguments},
    }
    signed = f"{KEY}.{NOW_S}.".encode() + got.body
    signature = base64.b64encode(hmac.digest(base64.b64decode(SECRET[6:]), signed, "sha256")).decode()
    assert got.headers == {
        "host": "tables.test",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "voice-agent",
        "content-type": "application/json",
        "content-length": str(len(got.body)),
        "authorization": "Bearer x",
        "idempotency-key": KEY,
        "webhook-id": KEY,
        "webhook-timestamp": str(NOW_S),
        "webhook-signature": f"v1,{signature}",
    }


@pytest.mark.parametrize("verify", [None, VERIFY])
async def test_an_answer_that_is_cut_at_any_byte_is_not_taken_for_a_whole_one(verify: str | None) -> None:
    """It is verified or asked for again under the same key: the table is booked once, and it is the same one."""
    whole = CuttingNetwork(Tables())
    await asked(whole)
    for at in range(whole.answer_bytes):
        tables = Tables()
        network = CuttingNetwork(tables, [Fault(answer_at=at)])
        assert await asked(network, verify_url=verify) == {"table": 1}, f"cut at {at}"
        assert tables.count == 1
        assert [got.method for got in network.received] == ["POST", "GET" if verify else "POST"]


@pytest.mark.parametrize("verify", [None, VERIFY])
async def test_a_request_that_is_cut_at_any_byte_is_made_again(verify: str | None) -> None:
    """Also where all of it had arrived."""
    whole = CuttingNetwork(Tables())
    await asked(whole)
    for at in range(whole.request_bytes + 1):
        tables = Tables()
        network = CuttingNetwork(tables, [Fault(request_at=at)])
        assert await asked(network, verify_url=verify) == {"table": 1}, f"cut at {at}"
        assert tables.count == 1


@pytest.mark.parametrize("value", [{"table": 12}, [12], "twelve", 12, None, True])
@pytest.mark.parametrize("framing", ["length", "chunks", "close"])
async def test_whatever_an_answer_is_and_however_its_end_is_marked_a_part_is_no_answer(
    value: Any, framing: str
) -> None:
    """Of a number without a length, a part looks whole: what cannot be told apart is not taken."""
    packed = orjson.dumps(value)
    whole = {
        "length": answer(value),
        "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed),
        "close": b"HTTP/1.1 200 OK\r\n\r\n" + packed,
    }[framing]
    for at in range(len(whole)):
        network = CuttingNetwork(lambda _: whole, [Fault(answer_at=at)])
        try:
            assert await asked(network) == value, f"cut at {at}"
        except ToolError:
            assert framing == "close"
            assert isinstance(value, int | None)
        assert len(network.received) >= 2


async def test_on_a_pod_that_takes_the_call_over_it_is_verified_first() -> None:
    """What was done is not asked for again."""
    tables = Tables()
    tables.booked[KEY] = 7
    network = CuttingNetwork(tables)
    assert await asked(network, AGAIN, verify_url=VERIFY) == {"table": 7}
    [got] = network.received
    assert (got.method, got.target) == ("GET", "/booked?house=1&key=call_a%3Aasked_1")
    assert got.headers["webhook-id"] == KEY
    assert tables.count == 0


async def test_what_is_not_known_is_not_done_again() -> None:
    """It is verified as often as it may be tried, and the model is told."""
    network = CuttingNetwork(lambda _: answer({"status": "unknown"}))
    with pytest.raises(ToolError, match="not known"):
        await asked(network, AGAIN, verify_url=VERIFY, retries=2)
    assert [got.method for got in network.received] == ["GET"] * 4


@pytest.mark.parametrize(
    "told",
    [
        answer(status=500),
        answer({}),
        answer([]),
        answer({"status": ["done"]}),
        answer({"status": "DONE"}),
        answer("done"),
    ],
)
async def test_what_is_no_answer_of_a_verifying_address_is_unknown(told: bytes) -> None:
    """An error page is no news of what was done."""
    network = CuttingNetwork(lambda _: told)
    with pytest.raises(ToolError, match="not known"):
        await asked(network, AGAIN, verify_url=VERIFY, retries=0)
    assert {got.method for got in network.received} == {"GET"}


@pytest.mark.parametrize(
    ("status", "asks"), [(500, 4), (503, 4), (409, 4), (429, 4), (408, 4), (400, 1), (404, 1), (302, 1)]
)
async def test_what_is_asked_again_is_what_another_attempt_may_mend(status: int, asks: int) -> None:
    """A refusal is one; a redirect is not followed, wherever it leads."""
    network = CuttingNetwork(lambda _: answer(None, status, headers=["Location: http://169.254.169.254/"]))
    with pytest.raises(ToolError) as raised:
        await asked(network)
    assert len(network.received) == asks
    assert {got.target for got in network.received} == {"/book?house=1"}
    assert ("not known" in str(raised.value)) == (status in {302, 409, 500, 503})


async def test_a_refusal_says_why_in_the_webhooks_own_words() -> None:
    """If it has any, and not more than a thousand characters."""
    with pytest.raises(ToolError, match=r"^We are full\.$"):
        await asked(CuttingNetwork(lambda _: answer({"error": "We are full."}, 422)))
    with pytest.raises(ToolError, match=r"^The service book refused it \(HTTP 422\)\.$"):
        await asked(CuttingNetwork(lambda _: answer({"error": {"code": 3}}, 422)))


async def test_where_there_is_no_connection_nothing_was_done() -> None:
    """And the model may be told so."""
    network = CuttingNetwork(Tables(), refuses=2)
    assert await asked(network) == {"table": 1}
    network.refuses = 9
    with pytest.raises(ToolError, match=r"Nothing was done\.$"):
        await asked(network)


@pytest.mark.parametrize(
    "told",
    [
        answer("x" * MAX_OUTPUT_BYTES),
        b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * (MAX_OUTPUT_BYTES + 1),
        answer({}, headers=["Content-Encoding: gzip"]),
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000,
        b"\x00" * 1000,
    ],
    ids=["too long", "without end", "compressed", "a long header", "no HTTP"],
)
async def test_an_answer_that_is_none_costs_no_more_than_its_bounds(told: bytes) -> None:
    """What is compressed could be anything when it is unpacked."""
    with pytest.raises(ToolError):
        await asked(CuttingNetwork(lambda _: told))


async def test_what_was_done_and_cannot_be_read_is_not_done_again() -> None:
    """An answer that is neither JSON nor text is whole all the same."""
    network = CuttingNetwork(lambda _: answer(body=b"\xff\xfe"))
    with pytest.raises(ToolError, match="It was done, but"):
        await asked(network)
    assert len(network.received) == 1


async def test_an_answer_that_does_not_end_is_given_up() -> None:
    """However often another byte comes."""
    given_up: list[int] = []

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with suppress(OSError):
            while True:
                writer.write(b"1\r\nx\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()
        given_up.append(1)

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    fields = {
        "name": "book",
        "url": f"http://127.0.0.1:{port}/",
        "secret": SECRET,
        "attempt_timeout_s": 0.1,
        "retries": 1,
    }
    async with server, httpx.AsyncClient() as http:
        with pytest.raises(ToolError, match="not known"):
            await WebhookTool(WebhookSettings.model_validate(fields), http).run(CALL, {}, KEY)
        await until(lambda: len(given_up) == 2)


async def test_no_cookie_of_one_call_is_sent_in_another() -> None:
    """Nor anything else that a webhook says to the client that all of them share."""
    network = CuttingNetwork(lambda _: answer(1, headers=["Set-Cookie: caller=7"]))
    tool = booking(network)
    for _ in range(2):
        await tool.run(CALL, {}, KEY)
    assert "cookie" not in network.received[1].headers


async def test_a_webhook_that_forgets_its_keys_books_twice() -> None:
    """What the key is for: these tests notice where it is not honoured."""
    tables = Tables(honours_keys=False)
    await asked(CuttingNetwork(tables, [Fault(answer_at=10)]))
    assert tables.count == 2


def test_how_long_is_waited_before_it_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as long each time, or as the webhook says."""
    monkeypatch.setattr(webhook, "FIRST_BACKOFF_S", 0.2)
    assert all(0.4 <= webhook._backoff_s(3, None) <= 0.8 for _ in range(100))
    assert webhook._backoff_s(3, 2.0) == 2.0
