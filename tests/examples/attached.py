"""Runs an example of an attachment without a Kafka, and prints what it would have had.

python -m tests.examples.attached FILE      a service (``app`` in the file) is asked once, over its own interface
"""

import importlib
import json
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

from shadowlane.producers import mirror as mirror_module
from tests.producers.support import FakeLink, Sent

ASKED = b'{"text": "I want my money back"}'


def main() -> None:
    link = FakeLink()
    vars(mirror_module)["KafkaLink"] = lambda *_, **__: link
    file = Path(sys.argv[1])
    sys.path.insert(0, str(file.parent))
    example: Any = importlib.import_module(file.stem)
    if hasattr(example, "main"):
        example.main()
    elif "fastapi" in file.stem:
        from starlette.testclient import TestClient

        with TestClient(example.app) as client:
            print(client.post("/tickets/7", content=ASKED, headers={"content-type": "application/json"}).text)
    else:
        print(asked_by_wsgi(example.app))
    for _ in range(100):  # libraries tell of a call from threads of theirs
        assert example.mirror.flush(20)
        sent = Sent(list(link.acknowledged))
        if sent.served:
            break
        example.mirror.flush(0.02)
    print(json.dumps([vars(sent.requests[0]), vars(sent.served[0])]))


def asked_by_wsgi(app: Any) -> str:
    from wsgiref.util import setup_testing_defaults

    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/tickets/7",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(ASKED)),
        "wsgi.input": BytesIO(ASKED),
    }
    setup_testing_defaults(environ)
    answer = app(environ, lambda status, headers, exc_info=None: lambda data: None)
    body = b"".join(answer)
    answer.close()
    return body.decode().strip()


if __name__ == "__main__":
    main()
