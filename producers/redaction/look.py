"""What the guards of the rules look at. Pure."""

import re


class Look:
    """What the guards look at: made once for a text, since nearly all texts hold nothing.

    A search for a few characters costs half a microsecond a kilobyte, one for a single character a tenth of that (in
    a str; in bytes Python does it five times as slowly), a translation of all bytes as much as the former. So the
    guards ask for single characters first, and for what only a translation shows: ``words`` is the text's UTF-8 with
    every digit as ``0``, every other byte that tokens are made of as ``x``, and all else blank.
    """

    __slots__ = ("_run", "_shape", "_squeezed", "digit", "foreign", "raw", "text", "words")
    foreign: bool
    digit: bool
    words: str

    def __init__(self, text: str) -> None:
        self.text = text
        self.raw = raw = text.encode("utf-8", "replace")
        self.words = words = raw.translate(_WORDS).decode("latin-1")
        # Other scripts have digits of their own, which that does not show.
        self.foreign = (
            not text.isascii() and _FOREIGN_DIGIT.search(raw.translate(None, _ASCII).decode()) is not None
        )
        self.digit = "0" in words or self.foreign
        self._shape = ""
        self._squeezed = ""
        self._run = ""

    @property
    def shape(self) -> str:
        """The text's UTF-8 with every digit as ``0`` and every capital as ``A``."""
        if not self._shape:
            self._shape = self.raw.translate(_SHAPE).decode("latin-1")
        return self._shape

    @property
    def squeezed(self) -> str:
        """The text in small letters, without blanks and quotes, and with ``:`` for each ``=``."""
        if not self._squeezed:
            raw = self.raw
            if not self.text.isascii() and (b"\xc4" in raw or b"\xc5" in raw or b"\xe2\x84\xaa" in raw):
                raw = self.text.translate(_LIKE_ASCII).encode("utf-8", "replace")
            self._squeezed = raw.translate(_SMALL, b" \t\"'").decode("latin-1")
        return self._squeezed

    @property
    def run(self) -> str:
        """The shape without what may stand between the digits of one number."""
        if not self._run:
            self._run = self.raw.translate(_SHAPE, b" .()/-").decode("latin-1")
        return self._run


_ASCII = bytes(range(128))
_FOREIGN_DIGIT = re.compile(r"\d")
_SHAPE = bytes(
    ord("0") if chr(n).isdigit() and n < 128 else ord("A") if 65 <= n <= 90 else n for n in range(256)
)
_WORDS = bytes(
    ord("0")
    if 48 <= n <= 57
    else ord("x")
    if chr(n).isascii() and (chr(n).isalnum() or chr(n) in "_-+/=.")
    else 32
    for n in range(256)
)
_SMALL = bytes(range(256)).lower().replace(b"=", b":")
_LIKE_ASCII = {0x130: "i", 0x131: "i", 0x17F: "s", 0x212A: "k"}
"""The letters that a pattern without case takes for those of ASCII."""
