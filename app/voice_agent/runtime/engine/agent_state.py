"""What an agent remembers of a call: a dictionary that refuses at once what cannot be kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import orjson

MAX_STATE_BYTES = 64 * 1024
"""Of an agent's state as JSON: it is written whole with each acknowledgement that changes it."""


class AgentState(dict[str, Any]):
    """Raises `TypeError` for what does not survive JSON. Changes within its values are noticed by `packed`."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(_key(key), _kept(key, value))

    def setdefault(self, key: str, default: Any = None) -> Any:
        """As a dictionary's."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *others: Any, **values: Any) -> None:
        """As a dictionary's: all of it, or nothing."""
        new = {_key(key): _kept(key, value) for key, value in dict(*others, **values).items()}
        super().update(new)

    def __ior__(self, other: Any) -> Self:  # type: ignore[override,misc]  # a dictionary's takes more than this
        self.update(other)
        return self

    def packed(self) -> bytes:
        """All of it as JSON. Raises `TypeError`, and `ValueError` for more than `MAX_STATE_BYTES`."""
        try:
            packed = orjson.dumps(dict(self))
        except TypeError as error:
            raise TypeError(f"state does not survive JSON: {error}") from error
        if len(packed) > MAX_STATE_BYTES:
            largest = max(self, key=lambda name: len(orjson.dumps(self[name])))
            raise ValueError(
                f"state takes {len(packed)} bytes as JSON, at most {MAX_STATE_BYTES} are kept; most has {largest!r}"
            )
        return packed


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"state has names that are text, not {key!r:.80}")
    return key


def _kept(key: str, value: Any) -> Any:
    try:
        orjson.dumps([value])  # It is kept within the state: JSON is written so deep, and no deeper.
        packed = orjson.dumps(value)
    except TypeError as error:
        raise TypeError(f"state[{key!r}] does not survive JSON: {error}") from error
    if orjson.loads(packed) != value:
        raise TypeError(f"state[{key!r}] does not survive JSON: it would come back as something else")
    return value
