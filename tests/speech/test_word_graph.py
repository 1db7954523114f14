"""The smallest graph of a grammar lets the same sentences through."""

from __future__ import annotations

from itertools import product
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.eval_speech.grammar import frontdesk
from voice_agent.speech.recognition import compiled
from voice_agent.speech.word_graph import Grammar, WordGraph

WORDS = "abc"
LONGEST = 4


def lets_through(grammar: Grammar, sentence: tuple[str, ...]) -> bool:
    """By trying all ways at once, arcs without a word among them."""
    nodes = grammar.reached([grammar.start])
    for word in sentence:
        nodes = grammar.reached([to for node in nodes for said, to in grammar.by_word.get(node, ()) if said == word])
    return grammar.final in nodes


def leads_to_end(graph: WordGraph, sentence: tuple[str, ...]) -> bool:
    """One way there is, or none."""
    node: int | None = graph.start
    for word in sentence:
        node = graph.arcs[node].get(word) if node is not None else None
    return node in graph.finals


@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(WORDS), st.integers(0, 5)), max_size=14),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=6),
)
def test_the_same_sentences_and_no_other(by_word: list[tuple[int, str, int]], empty: list[tuple[int, int]]) -> None:
    """Of any grammar, circles and arcs without a word among it."""
    lines = ["START_STATE 0", "FINAL_STATE 5"]
    lines += [f"TRANSITION {node} {to} 0.5 {word}" for node, word, to in by_word]
    lines += [f"TRANSITION {node} {to} 0.5 " for node, to in empty]
    grammar = Grammar.read("\n".join(lines))
    graph = WordGraph.smallest(grammar)
    for length in range(LONGEST + 1):
        for sentence in product(WORDS, repeat=length):
            assert lets_through(grammar, sentence) == leads_to_end(graph, sentence), sentence


def test_equal_ends_are_one_node() -> None:
    """However often they are written."""
    graph = WordGraph.smallest(
        Grammar.read(
            "START_STATE 0\nFINAL_STATE 9\n"
            "TRANSITION 0 1 1 a\nTRANSITION 1 2 1 c\nTRANSITION 2 9 1 d\n"
            "TRANSITION 0 3 1 b\nTRANSITION 3 4 1\nTRANSITION 4 5 1 c\nTRANSITION 5 9 1 d\n"
        )
    )
    assert len(graph.arcs) == 4
    end, transitions = graph.transitions()
    assert sum(len(arc) == 3 and arc[1] == end for arc in transitions) == 1


def test_the_front_desk_needs_a_small_graph() -> None:
    """Each node costs time in each frame of sound; and what callers say is let through, as the grammar has it."""
    graph = WordGraph.smallest(compiled("frontdesk"))
    assert len(graph.arcs) < 300
    chance = Random(1)
    for _ in range(200):
        assert leads_to_end(graph, tuple(frontdesk().sentence(chance).split()))
