"""Compression of requests and answers, by the names HTTP gives it."""

import gzip
import io
import zlib
from collections.abc import Callable

import lz4.frame
import zstandard

from shadowlane.embedded.store.problem import refused


def _undo_lz4(data: bytes) -> bytes:
    # clickhouse-connect sends a frame for each block; decompress() would stop after the first.
    with lz4.frame.LZ4FrameFile(io.BytesIO(data)) as frames:
        return bytes(frames.read())


def _undo_zstd(data: bytes) -> bytes:
    parts = []
    while data:
        frame = zstandard.ZstdDecompressor().decompressobj()
        parts.append(frame.decompress(data))
        if not frame.eof:
            raise EOFError("it ends in the middle of a frame")
        data = frame.unused_data
    return b"".join(parts)


_UNDO: dict[str, Callable[[bytes], bytes]] = {
    "lz4": _undo_lz4,
    "zstd": _undo_zstd,
    "gzip": gzip.decompress,
    "x-gzip": gzip.decompress,
    "deflate": zlib.decompress,
}
# The cheapest first: on loopback the processor is what an answer costs.
_DO: dict[str, Callable[[bytes], bytes]] = {
    "lz4": lambda data: bytes(lz4.frame.compress(data)),
    "zstd": lambda data: zstandard.ZstdCompressor(level=1).compress(data),
    "gzip": lambda data: gzip.compress(data, compresslevel=1),
    "deflate": lambda data: zlib.compress(data, level=1),
}
# Below this an answer fits into a packet anyway.
_WORTH_IT = 1024


def decompress(body: bytes, encoding: str) -> bytes:
    """Undo a request's Content-Encoding. Raises Problem: unknown encoding (415) or broken data (400)."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    undo = _UNDO.get(encoding)
    if undo is None:
        message = f"Content-Encoding {encoding} is not known: use one of {', '.join(_UNDO)}"
        raise refused(48, "NOT_IMPLEMENTED", message, 415)
    try:
        return undo(body)
    # Each library has a tree of its own, lz4's and gzip's being RuntimeError, EOFError and OSError.
    except (zstandard.ZstdError, zlib.error, OSError, EOFError, RuntimeError) as exc:
        raise refused(271, "CANNOT_DECOMPRESS", f"the body is not valid {encoding}: {exc}", 400) from exc


def compress(body: bytes, accepted: str) -> tuple[bytes, str | None]:
    """Compress an answer for an Accept-Encoding header; return it with its Content-Encoding, if any."""
    if len(body) < _WORTH_IT:
        return body, None
    offers = dict(_quality(offer) for offer in accepted.lower().split(","))
    for encoding, do in _DO.items():
        if offers.get(encoding):
            return do(body), encoding
    return body, None


def _quality(offer: str) -> tuple[str, bool]:
    name, _, parameter = offer.partition(";")
    return name.strip(), parameter.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
