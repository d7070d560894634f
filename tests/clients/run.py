"""Runs one client's scenarios without the mirror and with it, in the client's own environment, and says what was seen.

python -m tests.clients.run CLIENT URL MODEL...      prints a JSON list of Seen
"""

import asyncio
import gc
import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable
from typing import Any, TypedDict

from shadowlane.producers import Mirror
from shadowlane.producers import mirror as mirror_module
from tests.clients.note import Note
from tests.producers.support import FakeLink, Sent

RECORDED = "CLIENT_QUESTION" in os.environ
"""Models answer whole or streamed, as they are asked, and not by scripts of their own."""
NOT_RECORDED = ("azure", "a_azure", "gated", "a_gated", "a_cancelled")

Way = Callable[[str, Note], Any]


class Seen(TypedDict):
    """One scenario, run twice."""

    way: str
    model: str
    bare: list[str]
    mirrored: list[str]
    text: str | None
    requests: list[dict[str, Any]]
    served: list[dict[str, Any]]


def main() -> None:
    name, url, *models = sys.argv[1:]
    link = FakeLink()
    vars(mirror_module)["KafkaLink"] = lambda *_, **__: link  # no Kafka here
    mirror = Mirror("client", kafka="fake:9092", content="full")
    client = importlib.import_module(f"tests.clients.ways.{name}")
    bare = {key: run(way, *key) for key, way in scenarios(client, url, None, models)}
    out: list[Seen] = []
    for key, way in scenarios(client, url, mirror, models):
        note = run(way, *key)
        sent = taken(mirror, link)
        out.append(
            Seen(
                way=key[0],
                model=key[1],
                bare=bare[key].seen,
                mirrored=note.seen,
                text=note.text,
                requests=[vars(request) for request in sent.requests],
                served=[vars(response) for response in sent.served],
            )
        )
    stats = mirror.stats()
    assert not stats["problems"], stats
    assert stats["eligible"] == stats["mirrored"], stats
    mirror.close(0)
    print(json.dumps(out))


def scenarios(client: Any, url: str, mirror: Mirror | None, models: list[str]) -> Any:
    """((way, model), what runs it) of a client; a way may be for certain models alone (``only``)."""
    ways: dict[str, Way] = client.ways(url, mirror)
    for model in models:
        for way, function in ways.items():
            if way in NOT_RECORDED if RECORDED else not client.fits(way, model):
                continue
            if not (RECORDED and way.startswith("responses")):
                yield (way, model), function


def run(way: Way, name: str, model: str) -> Note:
    note = Note()
    try:
        if inspect.iscoroutinefunction(way):
            asyncio.run(way(model, note))
        else:
            way(model, note)
    except Exception as error:
        note.raised(error)
    return note


def taken(mirror: Mirror, link: FakeLink) -> Sent:
    """What the scenario sent: libraries tell of it from threads of theirs, at the latest as they let go of it."""
    for _ in range(100):
        gc.collect()
        assert mirror.flush(20), mirror.stats()
        sent = Sent(list(link.acknowledged))
        if sent.served:
            break
        mirror.flush(0.02)
        asyncio.run(asyncio.sleep(0.02))
    link.acknowledged.clear()
    return sent


if __name__ == "__main__":
    main()
