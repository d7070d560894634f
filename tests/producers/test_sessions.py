"""Which session a request is a step of: what the service says, else what the request itself names."""

import httpx2
import pytest

from shadowlane.schemas.sessions import session_in
from tests.producers.support import FakeMirror

ASKED = {"model": "m", "messages": []}


@pytest.mark.parametrize(
    ("body", "session"),
    [
        ({"conversation": "conv_1"}, "conv_1"),
        ({"conversation": {"id": "conv_2"}, "metadata": {"session_id": "s"}}, "conv_2"),
        ({"metadata": {"session_id": "s-3"}}, "s-3"),
        ({"metadata": {"session_id": 3}}, ""),
        ({"metadata": None, "conversation": 7}, ""),
        ({"previous_response_id": "resp_1"}, ""),
        (["conversation"], ""),
        (None, ""),
    ],
)
def test_what_a_body_names(body: object, session: str) -> None:
    assert session_in(body) == session


def test_what_the_service_says_comes_first(fake: FakeMirror) -> None:
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json={"choices": []}))
    client = fake.mirror.wrap(httpx2.Client(transport=transport, base_url="http://m/v1"))
    named = ASKED | {"metadata": {"session_id": "named"}}
    client.post("/chat/completions", json=ASKED)
    client.post("/chat/completions", json=named)
    with fake.mirror.context(session="said", attributes={"tenant": "acme"}):
        client.post("/chat/completions", json=named)
        with fake.mirror.context(key="user-7"):
            client.post("/chat/completions", json=ASKED)
    with fake.mirror.context(key="user-7", session="said"):
        client.post("/chat/completions", json=ASKED)
    sent = fake.sent()
    said = {"session.id": "said", "tenant": "acme"}
    found = [(request.key, request.attributes) for request in sent.requests]  # by partition
    assert sorted(found, key=str) == [
        ("", {"session.id": "named"}),
        ("", {}),
        ("said", said),
        ("user-7", {"session.id": "said"}),
        ("user-7", said),
    ]
    assert [response.attributes for response in sent.served] == [r.attributes for r in sent.requests]
