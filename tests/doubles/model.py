"""A language model of few words: what it answers is known before, and its words can be counted.

What the user said last decides:

- "count from 40 to 63 in sentences of 4": the words of these numbers (`counting`), six in a sentence by default. Asked
  with the beginning of that answer in the conversation it goes on behind it.
- what names one of the tools or one of a tool's parameters: a call of each tool that is named, once.
- the output of tools: "The tool says: …", and the count that was asked for beside it.
- anything else: "You said: …".

Where nothing is left to be said it writes `END_MARK`, if it has been told to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tests.doubles.counting import number, sentences
from tests.doubles.tones import words_of

COUNT = re.compile(r"count from (\d+) to (\d+)(?: in sentences of (\d+))?", re.IGNORECASE)
SENTENCE_WORDS = 6
TOOL_SAYS = "The tool says: "
YOU_SAID = "You said: "
END_MARK = "<end>"
EXAMPLES: Mapping[str, Any] = {"string": "7", "integer": 7, "number": 7.5, "boolean": True, "array": [], "object": {}}


class GoingOn(Enum):
    """What it makes of an answer that has been begun; no two models are alike in that."""

    EXACT = "exact"
    """It goes on with the next word, or with the rest of one."""
    LAST_WORDS = "last words"
    """It says the last three words again first."""
    ANEW = "anew"
    """It says all of it again."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that is to be called."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What it says, then what it calls."""

    text: str
    tool_calls: Sequence[ToolCall] = field(default=())
    finish: str = "stop"
    """Why it ends, where it calls nothing."""

    @property
    def tokens(self) -> list[str]:
        """Its text in pieces; two to a word, as with real ones."""
        return [piece for word in re.findall(r"\s*\S+\s*$|\s*\S+", self.text) for piece in _halves(word) if piece]


def _halves(word: str) -> tuple[str, str]:
    middle = len(word) - len(word.strip()) + (len(word.strip()) + 1) // 2
    return word[:middle], word[middle:]


def tokens_in(text: str) -> int:
    """How many tokens a text counts as."""
    return len(Answer(text).tokens)


def prompt_tokens(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> int:
    """How many tokens a question counts as: three for each message, and those of all that it holds."""
    described = sum(tokens_in(json.dumps(tool)) for tool in tools)
    return described + sum(3 + tokens_in(_text(message)) for message in messages)


def answer(body: Mapping[str, Any], going_on: GoingOn = GoingOn.EXACT) -> Answer:
    """What it answers to the body of a request."""
    messages = body["messages"]
    asked_at = max((at for at, each in enumerate(messages) if each["role"] == "user"), default=-1)
    asked = _text(messages[asked_at]) if asked_at >= 0 else ""
    since = messages[asked_at + 1 :]
    outputs = [_text(each) for each in since if each["role"] == "tool"]
    tools = [tool["function"] for tool in body.get("tools") or ()]
    if not outputs and (called := list(_called(asked, tools, body.get("tool_choice", "auto")))):
        return Answer("", called)
    told = f"{TOOL_SAYS}{' and '.join(outputs)}. " if outputs else ""
    wanted = COUNT.search(asked)
    if wanted is None:
        whole = told or YOU_SAID + asked
    else:
        numbers = range(int(wanted[1]), int(wanted[2]) + 1)
        whole = told + sentences(numbers, int(wanted[3] or SENTENCE_WORDS))
    text = _behind(whole, _begun(since), going_on)
    is_told = any(END_MARK in _text(each) for each in messages if each["role"] in ("system", "developer"))
    return Answer(text if text.strip() or not is_told else END_MARK)


def _begun(since: Sequence[Mapping[str, Any]]) -> str:
    """What has been said of an answer."""
    return "".join(_text(each) for each in since if each["role"] == "assistant")


def _behind(text: str, begun: str, going_on: GoingOn) -> str:
    """What of an answer follows its beginning."""
    if not begun.strip() or going_on is GoingOn.ANEW:
        return text
    ends = [found.end() for found in re.finditer(r"\S+", text)]
    whole, partial = _passed(text, begun)
    if going_on is GoingOn.LAST_WORDS:
        whole, partial = max(0, whole - 3), ""
    rest = text[ends[whole - 1] :] if whole else text
    if partial and words_of(rest)[:1] and rest.strip().lower().startswith(partial.lower()):
        return rest.lstrip()[len(partial) :]
    return rest.lstrip() if begun[-1:].isspace() else rest


def _passed(text: str, begun: str) -> tuple[int, str]:
    """How many words of a text its beginning has, and what it has of the next one."""
    due, had = words_of(text), words_of(begun)
    whole = 0
    while whole < min(len(due), len(had)) and due[whole] == had[whole]:
        whole += 1
    left = had[whole:]
    if len(left) == 1 and whole < len(due) and due[whole].startswith(left[0]):
        return whole, left[0]
    counted = [place for place, each in enumerate(due) if left and each == left[-1] and number(each) is not None]
    return (counted[0] + 1, "") if counted else (whole, "")


def _called(asked: str, tools: Sequence[Mapping[str, Any]], choice: Any) -> Iterator[ToolCall]:
    """The tools that the user has named, or that must be called."""
    said = set(words_of(asked))
    for tool in tools:
        properties = tool.get("parameters", {}).get("properties", {})
        is_named = tool["name"].lower() in asked.lower() or not said.isdisjoint(properties)
        is_due = choice == "required" or (isinstance(choice, dict) and choice["function"]["name"] == tool["name"])
        if is_due or (is_named and choice == "auto"):
            values = {name: _example(schema) for name, schema in properties.items()}
            yield ToolCall(tool["name"], json.dumps(values))


def _example(schema: Mapping[str, Any]) -> Any:
    return schema["enum"][0] if "enum" in schema else EXAMPLES.get(schema.get("type", "string"), "7")


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)
