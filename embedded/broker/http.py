"""The part of Amazon S3's HTTP interface that the broker uses, on loopback, for the one who has the key."""

import asyncio
import hmac
import logging
import time
from email.utils import formatdate
from functools import lru_cache
from typing import cast
from urllib.parse import parse_qsl, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from shadowlane.embedded.broker.objects import ChangedError, FullError, Objects

log = logging.getLogger("shadowlane.broker")

BUCKET = "tansu"
LARGEST = 64 * 2**20  # of one request


class S3(asyncio.Protocol):
    """One connection. Requests are answered one after the other, in the loop: each is a file or less."""

    def __init__(self, objects: Objects, key: str) -> None:
        self._objects = objects
        self._key = key.encode()
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none of asyncio's classes

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            line, *fields = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
            headers = {k.strip().lower(): v.strip() for k, _, v in (field.partition(":") for field in fields)}
            length = int(headers.get("content-length", "0"))
            if length > LARGEST or "transfer-encoding" in headers:
                self._transport.close()
                return
            if len(self._buffer) < end + 4 + length:
                return
            body = bytes(self._buffer[end + 4 : end + 4 + length])
            del self._buffer[: end + 4 + length]
            method, target, _ = line.split(" ", 2)
            try:
                self._serve(method, target, headers, body)
            except OSError as exc:
                log.error("%s %s: %s", method, target, exc.strerror)
                self._answer("503 Service Unavailable", _problem("SlowDown"))

    def _serve(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        # `AWS4-HMAC-SHA256 Credential=KEY/DATE/…`: the key alone is the secret, so the signature adds nothing.
        credential = headers.get("authorization", "").partition("Credential=")[2].partition("/")[0]
        if not hmac.compare_digest(credential.encode(), self._key):
            return self._answer("403 Forbidden", _problem("AccessDenied"))
        path, _, text = target.partition("?")
        query = dict(parse_qsl(text, keep_blank_values=True))
        name = unquote(path).removeprefix(f"/{BUCKET}").removeprefix("/")
        if method == "GET" and not name:
            return self._list(query)
        if method == "POST" and "delete" in query:
            return self._delete(body)
        if method in ("GET", "HEAD") and "range" not in headers:
            return self._get(name, headers, head=method == "HEAD")
        if method == "PUT" and "x-amz-copy-source" not in headers:
            return self._put(name, headers, body)
        if method == "DELETE":
            self._objects.delete(name)
            return self._answer("204 No Content")
        return self._answer("501 Not Implemented", _problem("NotImplemented"))

    def _get(self, name: str, headers: dict[str, str], *, head: bool) -> None:
        found = self._objects.get(name, self._objects.now())
        if found is None:
            return self._answer("404 Not Found", b"" if head else _problem("NoSuchKey"))
        tag = f'"{found.tag}"'
        if headers.get("if-none-match") == tag:
            return self._answer("304 Not Modified", fields=f"ETag: {tag}\r\n")
        modified = f"ETag: {tag}\r\nLast-Modified: {formatdate(found.stamp, usegmt=True)}\r\n"
        return self._answer("200 OK", found.body, modified, head=head)

    def _put(self, name: str, headers: dict[str, str], body: bytes) -> None:
        tag = headers["if-match"].strip('"') if "if-match" in headers else None
        try:
            new = self._objects.put(name, body, only_new=headers.get("if-none-match") == "*", tag=tag)
        except ChangedError:
            return self._answer("412 Precondition Failed", _problem("PreconditionFailed"))
        except FullError:
            # Not a 5xx, which the broker would send again for minutes while the producer waits.
            return self._answer("403 Forbidden", _problem("QuotaExceeded"))
        return self._answer("200 OK", fields=f'ETag: "{new}"\r\n')

    def _list(self, query: dict[str, str]) -> None:
        after = max(query.get("start-after", ""), query.get("continuation-token", ""))
        parts = [b"<ListBucketResult><IsTruncated>false</IsTruncated>"]
        for name, size, stamp in self._objects.names(query.get("prefix", ""), self._objects.now()):
            if name > after:
                parts.append(
                    f"<Contents><Key>{escape(name)}</Key><LastModified>{_second(int(stamp))}"
                    f".{int(stamp % 1 * 1e6):06}Z</LastModified><Size>{size}</Size></Contents>".encode()
                )
        parts.append(b"</ListBucketResult>")
        self._answer("200 OK", b"".join(parts), "Content-Type: application/xml\r\n")

    def _delete(self, body: bytes) -> None:
        done = []
        for element in ElementTree.fromstring(body).iter():  # noqa: S314  # of the broker itself
            if element.tag.rpartition("}")[2] == "Key" and element.text:
                self._objects.delete(element.text)
                done.append(f"<Deleted><Key>{escape(element.text)}</Key></Deleted>")
        answer = f"<DeleteResult>{''.join(done)}</DeleteResult>"
        self._answer("200 OK", answer.encode(), "Content-Type: application/xml\r\n")

    def _answer(self, status: str, body: bytes = b"", fields: str = "", *, head: bool = False) -> None:
        first = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode()
        self._transport.write(first if head else first + body)


@lru_cache(maxsize=4096)
def _second(stamp: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(stamp))


def _problem(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
