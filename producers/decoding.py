"""HTTP content encodings, undone with the standard library."""

import zlib

from shadowlane.errors import CodecError


def decode_chunks(chunks: list[bytes], encoding: str, max_bytes: int) -> list[bytes]:
    """Each piece decoded; joined, the body. The pieces keep their places, and with them their times.

    Raises:
        CodecError: an encoding other than gzip and deflate, a body that is not what its encoding says, or
            one that unfolds to more than ``max_bytes``. ``str(error)`` is the reason for the counters.
    """
    coding = encoding.strip().lower()
    if coding in ("", "identity"):
        return chunks
    if coding in ("gzip", "x-gzip"):
        return _inflate(chunks, 16 + zlib.MAX_WBITS, max_bytes)
    if coding == "deflate":
        # The standard means a zlib stream; some servers send a bare one.
        first = b"".join(chunks)[:2]
        is_zlib = len(first) == 2 and first[0] & 0x0F == 8 and int.from_bytes(first, "big") % 31 == 0
        return _inflate(chunks, zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS, max_bytes)
    raise CodecError("undecodable_response")


def _inflate(chunks: list[bytes], window_bits: int, max_bytes: int) -> list[bytes]:
    decoder = zlib.decompressobj(window_bits)
    out, left = [], max_bytes
    try:
        for chunk in chunks:
            out.append(decoder.decompress(chunk, left + 1))
            left -= len(out[-1])
            if left < 0 or decoder.unconsumed_tail:
                raise CodecError("response_too_large")
        out.append(decoder.flush())
    except zlib.error as exc:
        raise CodecError("undecodable_response") from exc
    return out
