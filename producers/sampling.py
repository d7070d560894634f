"""Which requests are mirrored: a hash of the key decides, so one key is always in or always out; then a cap."""

import threading
from hashlib import blake2b

DEFAULT_SALT = "shadowlane.mirror"


class Sampler:
    """Takes the fraction ``rate`` of all keys, in [0, 1].

    The key is in if the first 64 bits of BLAKE2b (keyed by the salt), read as a fraction of 1, are below the
    rate. So every process with the same salt decides alike, and whoever is in at 10% is in at 20% too.
    Change the salt to draw another sample.
    """

    __slots__ = ("_all", "_limit", "_none", "_salt")

    def __init__(self, rate: float, salt: str = DEFAULT_SALT) -> None:
        self._all, self._none = rate >= 1.0, rate <= 0.0
        self._limit = int(rate * 2**64)
        self._salt = blake2b(salt.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    def takes(self, key: str) -> bool:
        if self._all:
            return True
        if self._none:
            return False
        digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, key=self._salt).digest()
        return int.from_bytes(digest, "big") < self._limit


class PerSecond:
    """At most ``rate`` a second on average, and what one second allows (one at least) at once: a token bucket."""

    __slots__ = ("_full", "_left", "_lock", "_rate", "_when")

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._full = self._left = max(1.0, rate)
        self._when = float("-inf")
        self._lock = threading.Lock()

    def takes(self, now: float) -> bool:
        """``now``: seconds, monotonic. From any thread."""
        with self._lock:
            if now > self._when:
                self._left = min(self._full, self._left + (now - self._when) * self._rate)
                self._when = now
            if self._left < 1.0:
                return False
            self._left -= 1.0
            return True
