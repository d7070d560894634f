"""Texts in which nothing was found, remembered, because a service sends the same ones again and again: its system
prompts, its tools' descriptions, the conversation so far."""

import sys

_SIGHTINGS = 16_384  # hashes, some 60 bytes each


class Unsuspicious:
    """A set of texts, bounded in bytes. A text is in it from its second time on: most come once.

    Where it is full it starts anew: what goes on coming is back at once.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = 0  # bytes
        self._texts: set[str] = set()
        self._once: set[int] = set()

    def __contains__(self, text: str) -> bool:
        return text in self._texts

    def add(self, text: str) -> None:
        """Nothing was found in ``text``."""
        sighting = hash(text)  # that two texts have one means that one of them is remembered at once
        if sighting not in self._once:
            if len(self._once) >= _SIGHTINGS:
                self._once.clear()
            self._once.add(sighting)
            return
        size = sys.getsizeof(text)
        if size > self._max_bytes // 8:
            return  # it would displace too many others
        if self._held + size > self._max_bytes:
            self._texts.clear()
            self._held = 0
        self._texts.add(text)
        self._held += size
