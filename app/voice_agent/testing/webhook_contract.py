"""What every webhook promises that changes something; for pytest, with `pytest-asyncio` in its mode ``auto``.

Without pytest, and for a webhook in any language: ``python -m voice_agent.testing.try_webhook``.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar

from voice_agent.agents.tools.exchange import WebhookAnswer
from voice_agent.testing.webhook_probe import IN_PROGRESS, WebhookProbe, fresh_key

OTHER_SECRET = "whsec_" + base64.b64encode(b"a secret of somebody else's").decode()
TOO_OLD_S = 3600
AT_ONCE = 5


class WebhookContract:
    """A class of yours inherits it, sets `url`, `secret` and `arguments`, and has a method `count`."""

    url: str = ""
    verify_url: str | None = None
    """Where it tells what became of a key; None: nowhere."""
    secret: str = ""
    """``whsec_…``, as the webhook has it."""
    tool: str = "trial"
    arguments: ClassVar[Mapping[str, Any]] = {}
    """What it is asked with; good for any number of times."""
    every = 1
    """Connections are broken at every so-manieth byte: for webhooks that take long."""

    def count(self) -> int:
        """How many effects there have been, of whatever key: rows of a table, messages in a box."""
        raise NotImplementedError("A WebhookContract needs a method `count`")

    def restart(self) -> None:
        """Have the webhook's process killed and started again, if that can be done; it has answered before."""

    def _probe(self) -> WebhookProbe:
        return WebhookProbe(self.url, self.secret, self.verify_url, self.tool, self.arguments)

    async def test_what_it_is_asked_for_twice_under_one_key_it_does_once(self) -> None:
        """And it gives the same again. Under another key it does it again."""
        probe, before, key = self._probe(), self.count(), fresh_key()
        first = await probe.ask(key)
        assert first.is_success, f"a request that is signed is answered with {first.status}"
        again = await probe.ask(key)
        self._check_effects(before, 1, "asked twice under one key")
        _check_same(first, again)
        assert (await probe.ask(fresh_key())).is_success
        self._check_effects(before, 2, "asked under another key")

    async def test_it_remembers_a_key_when_it_is_started_again(self) -> None:
        """It commits what it did together with the key."""
        probe, before, key = self._probe(), self.count(), fresh_key()
        first = await probe.ask_until_done(key)
        self.restart()
        again = await probe.ask_until_done(key)
        self._check_effects(before, 1, "started again in between")
        _check_same(first, again)

    async def test_a_connection_that_breaks_at_any_byte_of_its_answer_makes_no_second_effect(self) -> None:
        """It has committed, and nobody has heard of it."""
        probe = self._probe()
        for at in range(0, await probe.answer_bytes() + 1, self.every):
            before, key = self.count(), fresh_key()
            await probe.break_answer(key, at)
            await probe.ask_until_done(key)
            self._check_effects(before, 1, f"cut at byte {at} of the answer")

    async def test_a_connection_that_breaks_at_any_byte_of_a_request_makes_no_second_effect(self) -> None:
        """Part of a request is no request."""
        probe = self._probe()
        for at in range(0, probe.request_bytes + 1, self.every):
            before, key = self.count(), fresh_key()
            await probe.break_request(key, at)
            await probe.ask_until_done(key)
            self._check_effects(before, 1, f"cut at byte {at} of the request")

    async def test_asked_at_the_same_time_under_one_key_it_does_it_once(self) -> None:
        """One of them may be told that it is in progress: 409."""
        probe, before, key = self._probe(), self.count(), fresh_key()
        answers = await asyncio.gather(*(probe.ask(key) for _ in range(AT_ONCE)))
        statuses = [answer.status for answer in answers if not answer.is_success]
        assert set(statuses) <= {IN_PROGRESS}, f"asked {AT_ONCE} times at once, it answers {statuses}"
        await probe.ask_until_done(key)
        self._check_effects(before, 1, f"asked {AT_ONCE} times at once under one key")

    async def test_another_body_under_a_key_that_was_used_makes_no_effect(self) -> None:
        """It is refused, or answered as the first one was."""
        probe, key = self._probe(), fresh_key()
        await probe.ask_until_done(key)
        before = self.count()
        await probe.ask(key, probe.body.replace(b"call_trial", b"call_other"))
        self._check_effects(before, 0, "asked for something else under a key that was used")

    async def test_what_is_not_signed_by_the_server_is_refused(self) -> None:
        """By another secret, of another body, under another id, or not at all."""
        probe, key = self._probe(), fresh_key()
        good = probe.headers(key)
        other = WebhookProbe(self.url, OTHER_SECRET, tool=self.tool, arguments=self.arguments)
        await self._refused("signed with another secret", probe, other.headers(key))
        await self._refused("signed for another body", probe, probe.headers(key, b"{}"))
        await self._refused("signed for another id", probe, {**good, "webhook-id": fresh_key()})
        for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
            await self._refused(f"without {name}", probe, {each: good[each] for each in good if each != name})
        for signature in ("", "v1,", "v1", "v1,AAAA", good["webhook-signature"].replace("v1,", "v2,")):
            await self._refused(f"signature {signature!r}", probe, {**good, "webhook-signature": signature})

    async def test_a_request_that_is_sent_again_under_another_key_makes_no_second_effect(self) -> None:
        """What is signed is ``webhook-id``: a header Idempotency-Key that says something else is not the server's."""
        probe, key = self._probe(), fresh_key()
        await probe.ask_until_done(key)
        before = self.count()
        await probe.ask(key, headers={**probe.headers(key), "idempotency-key": fresh_key()})
        self._check_effects(before, 0, "sent again under another Idempotency-Key")

    async def test_what_was_signed_long_ago_is_refused(self) -> None:
        """So nobody can send again what they have listened to; nor what is signed for a time to come."""
        probe, key = self._probe(), fresh_key()
        await self._refused("signed an hour ago", probe, probe.headers(key, age_s=TOO_OLD_S))
        await self._refused("signed for in an hour", probe, probe.headers(key, age_s=-TOO_OLD_S))
        await self._refused("a timestamp that is none", probe, {**probe.headers(key), "webhook-timestamp": "now"})

    async def test_while_its_secret_is_replaced_one_of_several_signatures_is_enough(self) -> None:
        """They are parted by blanks."""
        probe, key = self._probe(), fresh_key()
        both = WebhookProbe(self.url, f"{OTHER_SECRET} {self.secret}", tool=self.tool, arguments=self.arguments)
        answer = await probe.ask(key, headers=both.headers(key))
        assert answer.is_success, f"with two signatures, the second of them right, it answers {answer.status}"

    async def test_it_tells_what_became_of_a_key(self) -> None:
        """Where it has an address for that: nothing, or what it gave."""
        probe, key = self._probe(), fresh_key()
        if probe.verify_url is None:
            return
        before = self.count()
        told = await probe.verify(key)
        assert told.get("status") == "not_done", f"of a key that was never used it tells {told}"
        self._check_effects(before, 0, "asked to verify")
        given = (await probe.ask_until_done(key)).value()
        told = await probe.verify(key)
        assert told.get("status") == "done", f"of a key whose effect is there it tells {told}"
        assert told.get("result") == given, f"it gave {given}, and tells {told}"
        other = WebhookProbe(self.url, OTHER_SECRET, self.verify_url)
        with suppress(AssertionError):
            told = await other.verify(key)
            raise RuntimeError(f"asked by somebody who has another secret, it tells {told}")

    async def _refused(self, how: str, probe: WebhookProbe, headers: Mapping[str, str]) -> None:
        before = self.count()
        answer = await probe.ask("", headers=headers)
        assert 400 <= answer.status < 500, f"{how}: it answers {answer.status}"
        self._check_effects(before, 0, how)

    def _check_effects(self, before: int, expected: int, how: str) -> None:
        found = self.count() - before
        assert found == expected, f"{how}: {found} effects instead of {expected}"


def _check_same(first: WebhookAnswer, again: WebhookAnswer) -> None:
    given, then = (first.status, first.value()), (again.status, again.value())
    assert given == then, f"it gave {given}, and under the same key {then}"
