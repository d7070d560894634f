"""What on-call has in this example: a receiver of signed webhooks that keeps the pages it was sent.

It takes a message only if its signature (https://www.standardwebhooks.com) was made with the secret in
ON_CALL_SECRET, writes it as one line of JSON, and answers 204; 401 to all others. Nothing of shadowlane is used.

    ON_CALL_SECRET=whsec_… python pager.py --port 9200 --pages pages.jsonl
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

OLDEST_S = 300  # a message that is older was recorded by somebody and sent again


def new_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def is_signed(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Whether whoever sent ``body`` knows the secret, and sent it just now (``now``: Unix seconds)."""
    sent_at = headers.get("webhook-timestamp", "")
    if not sent_at.isdigit() or abs(now - int(sent_at)) > OLDEST_S:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers.get('webhook-id', '')}.{sent_at}.".encode() + body
    expected = b"v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
    given = headers.get("webhook-signature", "").encode().split()
    return any(hmac.compare_digest(expected, one) for one in given)


def text(page: dict[str, Any]) -> str:
    """A page as on-call reads it."""
    data = page["data"]
    lines = [f"{data['severity'].upper()}  {data['summary']}"]
    since = (data["since"] or "")[:19].replace("T", " ")
    for name, said in (
        ("what", data["what"]),
        ("slices", data["slices"]),
        ("since", [f"{since} UTC"] if since else []),
        ("sure", [data["sure"]] if data["sure"] else []),
        ("done", [data["done"]]),
        ("look", data["look"]),
    ):
        lines += [f"{'' if number else name:<7} {line}" for number, line in enumerate(said)]
    return "\n".join(lines)


def make_server(port: int, secret: str, pages: Path) -> ThreadingHTTPServer:
    """On loopback; it serves until ``shutdown``."""
    known: set[str] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if not is_signed(secret, {k.lower(): v for k, v in self.headers.items()}, body, time.time()):
                return self._answer(401)
            message = self.headers["webhook-id"]
            if message not in known:  # the same one may come twice, and is one page
                known.add(message)
                with pages.open("ab") as file:
                    file.write(json.dumps(json.loads(body), ensure_ascii=False).encode() + b"\n")
            return self._answer(204)

        def do_GET(self) -> None:
            self._answer(200, json.dumps({"pages": len(known)}).encode())

        def _answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def main() -> None:
    parser = argparse.ArgumentParser(description="A pager.")
    parser.add_argument("--port", type=int, default=9200)
    parser.add_argument("--pages", type=Path, required=True, help="the file that pages are written to")
    arguments = parser.parse_args()
    make_server(arguments.port, os.environ["ON_CALL_SECRET"], arguments.pages).serve_forever()


if __name__ == "__main__":
    main()
