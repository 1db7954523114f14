"""`python faulty_edge.py FAULT`: an edge that does one thing wrong once a pod is lost.

Arguments behind it, and variables, are those of `voice-agent edge`.
"""

from __future__ import annotations

import sys
from unittest.mock import patch

from voice_agent.__main__ import main
from voice_agent.client.client_line import ClientLine, ToResend
from voice_agent.edge.proxied_call import PodWriter, ProxiedCall


def drop_tail() -> None:
    """What the caller said and no pod has is not sent again."""
    rewind = ClientLine.rewind

    def forgetful(self: ClientLine, position: int, number: int) -> ToResend:
        rewind(self, position, number)
        return ToResend([], 0)

    patch.object(ClientLine, "rewind", forgetful).start()


def say_tail_twice() -> None:
    """It is sent again twice."""
    rewind = ClientLine.rewind

    def careless(self: ClientLine, position: int, number: int) -> ToResend:
        return ToResend(2 * rewind(self, position, number).frames, 0)

    patch.object(ClientLine, "rewind", careless).start()


def repeat_event() -> None:
    """The caller gets an event that it had: the call is resumed from a number too low."""
    pod_lost = ProxiedCall.pod_lost

    def forgetful(self: ProxiedCall) -> None:
        pod_lost(self)
        self.newest -= 1

    patch.object(ProxiedCall, "pod_lost", forgetful).start()


def lose_event() -> None:
    """The caller does not get one that it had not."""
    go_on = ProxiedCall.go_on

    def hasty(self: ProxiedCall, pod: PodWriter, greeting: bytes) -> bool:
        went_on = go_on(self, pod, greeting)
        self.newest += 1
        return went_on

    patch.object(ProxiedCall, "go_on", hasty).start()


def greet_again() -> None:
    """The caller gets the next pod's greeting, too."""
    go_on = ProxiedCall.go_on

    def chatty(self: ProxiedCall, pod: PodWriter, greeting: bytes) -> bool:
        self._caller.pass_on(greeting, self.newest, counts=False)
        return go_on(self, pod, greeting)

    patch.object(ProxiedCall, "go_on", chatty).start()


def close_caller() -> None:
    """The caller is told what the pod's end is."""
    patch.object(ProxiedCall, "close_after", lambda self, code: 1012).start()


def nothing() -> None:
    """An edge as it should be."""


FAULTS = {
    fault.__name__: fault
    for fault in (drop_tail, say_tail_twice, repeat_event, lose_event, greet_again, close_caller, nothing)
}

if __name__ == "__main__":
    FAULTS[sys.argv.pop(1)]()
    sys.argv.insert(1, "edge")
    main()
