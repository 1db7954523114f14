"""Reading what is uploaded: a form with a file in it."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

from tests.doubles.tones import RATE_HZ


@dataclass(slots=True)
class Form:
    """The fields of ``multipart/form-data`` (RFC 7578), and its file."""

    fields: dict[str, str] = field(default_factory=dict)
    file: bytes | None = None
    filename: str = ""


class InvalidUpload(ValueError):
    """It is no form, or no sound."""


def read_form(content_type: str, body: bytes) -> Form:
    """Raises `InvalidUpload`."""
    boundary = re.search(r'boundary="?([^";]+)"?', content_type)
    if "multipart/form-data" not in content_type or boundary is None:
        raise InvalidUpload("Could not parse multipart form")
    mark = b"--" + boundary[1].encode()
    if not body.rstrip(b"\r\n").endswith(mark + b"--"):
        raise InvalidUpload("The form has no end")
    form = Form()
    for part in (b"\r\n" + body).split(b"\r\n" + mark)[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb'[; ]name="([^"]*)"', head)
        filename = re.search(rb'filename="([^"]*)"', head)
        if name is None:
            raise InvalidUpload("A part of the form has no name")
        if filename is not None:
            form.file, form.filename = content, filename[1].decode()
        else:
            form.fields[name[1].decode()] = content.decode()
    return form


def read_wav(file: bytes) -> tuple[bytes, int]:
    """PCM16 mono of a WAV, and its rate; a length that is unknown or too great is that of the file.

    Raises `InvalidUpload`.
    """
    if file[:4] != b"RIFF" or file[8:12] != b"WAVE":
        raise InvalidUpload("Invalid file format.")
    at, rate_hz = 12, 0
    while at + 8 <= len(file):
        kind, size = struct.unpack_from("<4sI", file, at)
        if kind == b"fmt ":
            encoding, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", file, at + 8)
            if (encoding, channels, bits) != (1, 1, 16):
                raise InvalidUpload("Only PCM16 mono is understood.")
        elif kind == b"data":
            audio = file[at + 8 : at + 8 + size]
            return audio[: len(audio) & ~1], rate_hz or RATE_HZ
        at += 8 + size + (size & 1)
    raise InvalidUpload("Invalid file format.")
