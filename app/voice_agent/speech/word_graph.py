"""A grammar as the smallest graph of words that lets the same sentences through.

PocketSphinx makes a graph of a JSGF file that has a node for each place in each use of each rule, joined by arcs
without a word, and looks at every node in every frame of sound, whether anything ends there or not: with the 1 712
nodes of the front desk that is half of all its work. The same sentences need 193 nodes, each with at most one arc for a
word (determinised, and nodes with the same future made one). ::

    (i'd like | i want) to book  =>   0 -i'd-> 1 -like-> 3 -to-> 4 -book-> 5
                                      0 -i---> 2 -want-> 3

The sentences have no weights: one is as likely as another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

Arcs = Mapping[int, Mapping[str, int]]
"""From a node by a word to a node."""


@dataclass(slots=True)
class Grammar:
    """A graph as PocketSphinx writes it: any number of arcs for a word, and arcs without one."""

    start: int = 0
    final: int = 0
    by_word: dict[int, list[tuple[str, int]]] = field(default_factory=dict)
    empty: dict[int, list[int]] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> Grammar:
        """Of an ``.fsg`` file's text; weights are left out."""
        found = cls()
        for line in text.splitlines():
            match line.split():
                case ["START_STATE", node]:
                    found.start = int(node)
                case ["FINAL_STATE", node]:
                    found.final = int(node)
                case ["TRANSITION", node, to, _, word]:
                    found.by_word.setdefault(int(node), []).append((word, int(to)))
                case ["TRANSITION", node, to, _]:
                    found.empty.setdefault(int(node), []).append(int(to))
        return found

    def reached(self, nodes: Iterable[int]) -> frozenset[int]:
        """These nodes, and those that are reached from them without a word."""
        seen = set(nodes)
        waiting = list(seen)
        while waiting:
            new = set(self.empty.get(waiting.pop(), ())) - seen
            seen |= new
            waiting += new
        return frozenset(seen)


@dataclass(frozen=True, slots=True)
class WordGraph:
    """At most one arc for a word from each node."""

    start: int
    finals: AbstractSet[int]
    arcs: Arcs

    @classmethod
    def smallest(cls, grammar: Grammar) -> WordGraph:
        """That lets through what `grammar` does, and nothing else."""
        return _merged(_determinised(grammar))

    def transitions(self) -> tuple[int, list[tuple[int, int, float] | tuple[int, int, float, str]]]:
        """The one node in which all sentences end, and the arcs as `Decoder.create_fsg` has them; some have no word."""
        end = max(self.arcs) + 1
        by_word = [(node, to, 1.0, word) for node, words in self.arcs.items() for word, to in words.items()]
        return end, [*by_word, *((node, end, 1.0) for node in sorted(self.finals))]


def _determinised(grammar: Grammar) -> WordGraph:
    """Where one may be at after the same words is one node."""
    start = grammar.reached([grammar.start])
    numbers, waiting = {start: 0}, [start]
    arcs: dict[int, dict[str, int]] = {}
    while waiting:
        nodes = waiting.pop()
        ends: dict[str, set[int]] = {}
        for node in sorted(nodes):
            for word, to in grammar.by_word.get(node, ()):
                ends.setdefault(word, set()).add(to)
        leads = {word: grammar.reached(to) for word, to in ends.items()}
        for reached in leads.values():
            if reached not in numbers:
                numbers[reached] = len(numbers)
                waiting.append(reached)
        arcs[numbers[nodes]] = {word: numbers[reached] for word, reached in leads.items()}
    return WordGraph(0, {number for nodes, number in numbers.items() if grammar.final in nodes}, arcs)


def _merged(graph: WordGraph) -> WordGraph:
    """Nodes of the same future are one: Moore's algorithm."""
    kinds = {node: int(node in graph.finals) for node in graph.arcs}
    count = len(set(kinds.values()))
    while True:
        numbers: dict[object, int] = {}
        kinds = {
            node: numbers.setdefault(
                (kinds[node], tuple(sorted((word, kinds[to]) for word, to in words.items()))), len(numbers)
            )
            for node, words in graph.arcs.items()
        }
        if len(numbers) == count:
            break
        count = len(numbers)
    arcs = {kinds[node]: {word: kinds[to] for word, to in words.items()} for node, words in graph.arcs.items()}
    return WordGraph(kinds[graph.start], {kinds[node] for node in graph.finals}, arcs)
