"""How one provider does: its breaker, its retry budget, and the line in the log when it changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from voice_agent.providers.answer_times import AnswerTimes
from voice_agent.providers.breaker import BreakerState, CircuitBreaker
from voice_agent.providers.budget import RetryBudget
from voice_agent.providers.errors import FailureKind, ProviderFailed

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ProviderHealth:
    """Of one endpoint, for all that ask it."""

    provider: str
    model: str
    now_s: Callable[[], float]
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    budget: RetryBudget = field(default_factory=RetryBudget)
    first_items: AnswerTimes = field(default_factory=AnswerTimes)
    """How long it takes to the first of an answer."""
    pauses: AnswerTimes = field(default_factory=lambda: AnswerTimes(is_costly=True))
    """Within an answer, of each the longest."""
    failures: Counter[FailureKind] = field(default_factory=Counter)
    answers: int = 0
    _logged: BreakerState = BreakerState.CLOSED

    @property
    def state(self) -> BreakerState:
        """Of its breaker, now."""
        return self.breaker.state(self.now_s())

    @property
    def admits(self) -> bool:
        """Whether it should be asked before one that does not."""
        return self.breaker.admits(self.now_s())

    def begin(self) -> None:
        """A request begins: `succeeded`, `failed` or `abandoned` follows."""
        self.breaker.begin(self.now_s())

    def succeeded(self) -> None:
        """It was answered."""
        self.answers += 1
        self.breaker.succeeded(self.now_s())
        self.budget.succeeded()
        self._tell("")

    def failed(self, error: ProviderFailed) -> None:
        """It was not, or not to the end."""
        self.failures[error.kind] += 1
        if error.is_of_the_request:
            self.breaker.abandoned()
        else:
            self.breaker.failed(self.now_s(), error.retry_after_s)
        self._tell(error.kind)

    def overtaken(self, seconds: float) -> None:
        """It gave nothing for so long, and another one was heard."""
        why = f"gave nothing in {seconds:.2g} s, and was overtaken"
        self.failed(ProviderFailed(self.provider, FailureKind.TIMEOUT, why))

    def abandoned(self) -> None:
        """It was given up before anything was known."""
        self.breaker.abandoned()

    def _tell(self, kind: str) -> None:
        state = self.breaker.state(self.now_s())
        if state is BreakerState.HALF_OPEN or state is self._logged:
            return
        self._logged = state
        if state is BreakerState.OPEN:
            log.warning("a provider fails, and is asked last", provider=self.provider, model=self.model, kind=kind)
        else:
            log.info("a provider answers again", provider=self.provider, model=self.model)
