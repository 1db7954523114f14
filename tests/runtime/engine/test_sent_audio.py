"""Audio that is made again goes on at the next sample, or, where it is another, is held to be cut at a word."""

from __future__ import annotations

from zlib import crc32

from voice_agent.runtime.engine.sent_audio import PieceAgain

AUDIO = bytes(range(100))


def again(sent_bytes: int, *, said_chars: int = 3) -> PieceAgain:
    """A piece of which so much was sent."""
    piece = PieceAgain()
    piece.expect_again(sent_bytes, crc32(AUDIO[:sent_bytes]), said_chars)
    return piece


def test_the_same_audio_goes_on_at_the_next_byte() -> None:
    """However it is cut."""
    piece = again(30)
    assert [piece.audio(AUDIO[at : at + 20]) for at in range(0, 100, 20)] == [
        b"",
        AUDIO[30:40],
        AUDIO[40:60],
        AUDIO[60:80],
        AUDIO[80:],
    ]
    piece.end_piece()
    assert (piece.differs, piece.held_from, bytes(piece.held)) == (False, None, b"")


def test_other_audio_is_held_whole() -> None:
    """From the character on that was not said to its end it is new."""
    piece, other = again(30), AUDIO[::-1]
    assert piece.audio(other[:50]) + piece.audio(other[50:]) == b""
    assert (piece.differs, piece.held_from, bytes(piece.held)) == (True, 3, other)


def test_audio_that_is_shorter_than_what_was_sent_is_other_audio() -> None:
    """That is known when it ends."""
    piece = again(30)
    assert piece.audio(AUDIO[:20]) == b""
    assert not piece.differs
    piece.end_piece()
    assert (piece.differs, bytes(piece.held)) == (True, AUDIO[:20])


def test_what_was_sent_is_passed_over_and_what_is_new_is_not() -> None:
    """The piece behind the one that was held begins anew."""
    piece = again(30)
    piece.audio(AUDIO[::-1])
    piece.expect_past()
    assert piece.audio(AUDIO) == b""
    piece.expect_new()
    assert piece.audio(AUDIO) == AUDIO
    assert (piece.differs, bytes(piece.held)) == (False, b"")
