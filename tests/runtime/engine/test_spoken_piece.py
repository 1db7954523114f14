"""A piece of a reply tells the call what it does not know yet of its audio and words."""

from __future__ import annotations

from voice_agent.call.audio import PCM, PCMU
from voice_agent.call.inputs import ResponseAudio
from voice_agent.runtime.engine.spoken_piece import SpokenPiece


def test_what_was_made_is_told_once() -> None:
    """In the client's format, with the words that are new; none is beyond the text."""
    piece = SpokenPiece(PCMU, chars=8)
    piece.add(200, [[50, 4]], is_heard=True)
    assert piece.part("r", b"a") == ResponseAudio("r", b"a", PCMU.size(200), [[50, 4]], 0)
    assert piece.part("r", b"b") == ResponseAudio("r", b"b")
    piece.add(100, [[10, 9]], is_heard=True)
    assert piece.part("r", b"c") == ResponseAudio("r", b"c", PCMU.size(300), [[210, 8]], 1)


def test_a_piece_begins_where_it_is_cut() -> None:
    """With that character, and its audio where that is said."""
    piece = SpokenPiece(PCM, chars=8)
    assert piece.from_chars == 0
    piece.add(400, [[100, 4]], is_heard=True)
    assert piece.cut(4, PCM.size(400)) == PCM.size(100)
    assert piece.from_chars == 4


def test_words_in_front_of_a_cut_are_no_words_of_the_rest() -> None:
    """Those behind it count from there, and are told anew."""
    piece = SpokenPiece(PCM, chars=12)
    piece.add(400, [[100, 4], [300, 8]], is_heard=True)
    piece.part("r", b"")
    piece.cut(4, PCM.size(400))
    assert piece.part("r", b"").words == [[200, 4]]


def test_only_what_is_heard_says_the_text() -> None:
    """Audio of no samples does not."""
    piece = SpokenPiece(PCM)
    piece.add(0, [], is_heard=False)
    assert not piece.is_said
