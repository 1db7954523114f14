"""Which of several ears or voices is asked first, and what is told of one that was too slow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar, runtime_checkable


@runtime_checkable
class Rated(Protocol):
    """An ear or a voice of a provider of which it is known how it does. Others are always asked in their turn."""

    @property
    def admits(self) -> bool:
        """Whether its provider does well, as far as is known."""

    def overtaken(self, seconds: float) -> None:
        """It gave nothing for so long, and another one went on."""


Provider = TypeVar("Provider")


def in_order(providers: Sequence[Provider], failed: Sequence[Provider] = ()) -> list[Provider]:
    """In the order of preference, those last that `failed` just now, and those before them that do badly."""

    def rank(provider: Provider) -> tuple[int, bool]:
        return sum(other is provider for other in failed), isinstance(provider, Rated) and not provider.admits

    return sorted(providers, key=rank)


def kind_of(error: Exception | None) -> str:
    """How a failure is told in a log: by its kind, for what an error says may quote callers. None: it was too slow."""
    return "too_slow" if error is None else str(getattr(error, "kind", type(error).__name__))


def tell_overtaken(provider: object, seconds: float) -> None:
    """Tell one that is `Rated`."""
    if isinstance(provider, Rated):
        provider.overtaken(seconds)
