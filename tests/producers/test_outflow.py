"""What goes out: by mode and by route, with tokens, lists, samples and caps; and what can't be done in time."""

import threading
from typing import Any

import orjson
import pytest

from shadowlane.producers.capture import TOKEN_KEY, Capture, RouteRule
from shadowlane.producers.outflow import OVER_CAP, Outflow, Samples
from shadowlane.producers.redaction import Lists, Rules, redact_json
from shadowlane.producers.sampling import PerSecond
from shadowlane.schemas.events import MirroredRequest, Response
from tests.producers.support import FakeMirror

KEY = b"a key of the tests, no secret"
BODY = {
    "model": "m",
    "temperature": 0.5,
    "stream": False,
    "messages": [{"role": "user", "content": "I am bob@example.com"}],
}
TOOLS = [{"name": "send", "arguments": '{"to":"bob@example.com"}'}]


def ask(mirror: Any, route: str = "/chat", key: str = "", body: Any = BODY) -> None:
    exchange = mirror.begin(route, "openai.chat", key=key)
    if exchange is not None:
        exchange.request(orjson.dumps(body))
        message = {
            "content": "done, Bob",
            "tool_calls": [{"type": "function", "function": TOOLS[0]}],
        }
        answer = {
            "model": "m-2",
            "choices": [{"message": message, "finish_reason": "tool_calls"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3},
        }
        exchange.end(200, orjson.dumps(answer), "application/json")


@pytest.fixture
def keyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_KEY, KEY.decode())


def test_full_is_all_of_it() -> None:
    fake = FakeMirror(content="full")
    ask(fake.mirror)
    request, served = fake.one()
    assert (request.body, request.without_content) == (BODY, "")
    assert (served.output, served.tool_calls) == ("done, Bob", TOOLS)


def test_metadata_is_sizes_times_model_tokens_and_status() -> None:
    fake = FakeMirror(content="metadata")
    ask(fake.mirror, key="bob@example.com")
    request, served = fake.one()
    assert (request.body, request.without_content, request.model) == (None, "metadata", "m")
    assert request.body_bytes == len(orjson.dumps(BODY))
    assert (served.output, served.tool_calls, served.output_bytes) == ("", None, len("done, Bob"))
    assert (served.model, served.input_tokens, served.output_tokens, served.status) == ("m", 7, 3, 200)
    assert (served.finish_reason, served.error) == ("tool_calls", "no_content")
    assert served.latency_ms > 0
    assert b"ob" not in b"".join(value for _, _, value in fake.link.acknowledged)
    assert fake.mirror.stats()["without_content"] == {"metadata": 1}


def test_hashed_is_equal_where_the_texts_are(keyed: None) -> None:
    fake = FakeMirror(content="hashed")
    ask(fake.mirror)
    ask(fake.mirror, body=BODY | {"temperature": 1})
    sent = fake.sent()
    (one, other), served = sent.requests, sent.served
    assert one.body["messages"] == other.body["messages"]
    assert one.body["temperature"] != other.body["temperature"]
    assert one.body.keys() == BODY.keys()
    assert one.body["stream"] is False
    assert (one.without_content, one.model) == ("hashed", "m")
    assert served[0].output == served[1].output != ""
    assert served[0].tool_calls == served[1].tool_calls
    assert (served[0].error, served[0].input_tokens, served[0].output_bytes) == ("", 7, len("done, Bob"))
    everything = b"".join(value for _, _, value in fake.link.acknowledged)
    assert not [word for word in (b"bob", b"Bob", b"send", b"user") if word in everything]
    assert fake.mirror.stats()["without_content"] == {"hashed": 2}


def test_hashed_without_a_key_mirrors_nothing_and_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(TOKEN_KEY, raising=False)
    fake = FakeMirror(content="hashed")
    ask(fake.mirror)
    assert fake.mirror.stats()["dropped"] == {"misconfigured": 1}
    assert f"{TOKEN_KEY} is not set" in caplog.text


def test_tokens_are_equal_for_equal_values_on_both_sides(keyed: None) -> None:
    fake = FakeMirror()
    ask(fake.mirror)
    request, served = fake.one()
    said = request.body["messages"][0]["content"].removeprefix("I am ")
    assert served.tool_calls[0]["arguments"] == f'{{"to":"{said}"}}'
    assert said.startswith("[email#")
    assert request.without_content == ""


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        ("bob@example.com", "Bob@Example.COM", "eve@example.com"),
        ("+44 20 7946 0958", "+442079460958", "+44 20 7946 0959"),
        ("4111 1111 1111 1111", "4111111111111111", "5555555555554444"),
        ("DE89 3704 0044 0532 0130 00", "DE89370400440532013000", "GB82WEST12345698765432"),
    ],
)
def test_a_value_has_one_token_however_it_is_written(one: str, same: str, other: str) -> None:
    rules = Rules(key=KEY)
    assert rules.text(one) == rules.text(same) != rules.text(other)
    assert rules.text(one) != Rules(key=KEY[::-1]).text(one)
    assert rules.text(rules.text(one)) == rules.text(one)


def test_each_route_has_its_own_mode(keyed: None) -> None:
    routes = {
        "/notes/{id}": {"content": "full"},
        "/health*": {"content": "metadata"},
        "/b": {"content": "hashed"},
    }
    fake = FakeMirror(routes=routes)
    for route in ("/chat", "/notes/17", "/notes/{id}", "/notes/17/x", "/healthz/deep", "/b"):
        ask(fake.mirror, route)
    found = {
        r.route: (r.without_content, r.body and r.body["messages"][0]["content"][:7])
        for r in fake.sent().requests
    }
    assert found == {
        "/chat": ("", "I am [e"),
        "/notes/17": ("", "I am bo"),
        "/notes/{id}": ("", "I am bo"),
        "/notes/17/x": ("", "I am [e"),
        "/healthz/deep": ("metadata", None),
        "/b": ("hashed", "[text#" + found["/b"][1][6:]),
    }


def test_each_route_has_its_own_share() -> None:
    routes = {"/health": {"sample": 0}, "/chat": {"sample": 1}}
    fake = FakeMirror(sample=0.5, routes=routes)
    for route in ("/health", "/chat", "/else"):
        for number in range(100):
            ask(fake.mirror, route, key=f"k{number}")
    sent = fake.sent()
    counts = [sum(r.route == route for r in sent.requests) for route in ("/health", "/chat", "/else")]
    assert counts[:2] == [0, 100]
    assert 25 < counts[2] < 75
    assert sent.rows == {"eligible": 300, "mirrored": sum(counts), "sampled_out": 300 - sum(counts)}


def test_what_is_over_the_cap_is_booked_so(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeMirror(per_second=3, routes={"/free": {"per_second": 1000}})
    monkeypatch.setattr("shadowlane.producers.mirror.monotonic", lambda: 5.0)
    for _ in range(8):
        ask(fake.mirror, "/a")
        ask(fake.mirror, "/b")
        ask(fake.mirror, "/free")
    sent = fake.sent()
    assert sent.rows == {"eligible": 24, "mirrored": 11, "sampled_out": 13}
    assert sent.reasons == {OVER_CAP: 13}


def test_a_cap_is_so_many_each_second() -> None:
    cap = PerSecond(2)
    assert [cap.takes(now) for now in (0.0, 0.0, 0.0, 0.25, 0.5, 0.75, 9.0, 9.0, 9.0)] == [
        *(True, True, False, False, True, False),
        *(True, True, False),
    ]
    slow = PerSecond(0.1)
    assert [slow.takes(now) for now in (0.0, 5.0, 10.0)] == [True, False, True]


def test_a_key_that_is_out_takes_nothing_of_the_cap() -> None:
    samples = Samples(Capture(sample=0.0, per_second=1, routes={"/in": RouteRule(sample=1.0)}))
    assert [samples.left_out(route, "k", 0.0) for route in ("/out", "/out", "/in", "/in")] == [
        "",
        "",
        None,
        OVER_CAP,
    ]
    assert not samples.takes_all
    assert Samples(Capture()).takes_all


def test_a_services_own_lists() -> None:
    rules = Rules(
        Lists(
            allow=("*@shop.example", "[ip]"),
            deny=("Falcon*", "Blue Whale"),
            allow_keys=("token",),
            deny_keys=("customer*",),
        )
    )
    text = "HELP@shop.example or bob@example.com at 203.0.113.77 of project falcons, blue whale, bluewhale"
    expected = "HELP@shop.example or [email] at 203.0.113.77 of project [denied], [denied], bluewhale"
    assert rules.text(text) == expected
    token = "2f7c9e01b3d84a6688aa"
    value = {"token": token, "customer_name": "Bob", "Customers": ["Eve"], "customer": None, "n": 1}
    assert rules.json(value) == {
        "token": token,
        "customer_name": "[denied]",
        "Customers": "[denied]",
        "customer": None,
        "n": 1,
    }
    assert redact_json({"token": token}) == {"token": "[secret]"}


def test_addresses_and_phones_go_by_the_names_of_members() -> None:
    value = {
        "shippingAddress": "12 High Street, London",
        "address": {"street": "Hauptstr. 5", "zip": 10115, "city": "Berlin", "country": "DE", "geo": [1.5]},
        "phone": "030 901820",
        "listen": {"address": "127.0.0.1:80", "ip_address": "somewhere else"},
        "parameters": {"address": {"type": "string", "description": "Where it goes, in words"}},
        "contact": {"mobile": ["0171 1234567"], "phone": "none"},
    }
    redacted = redact_json(value)
    assert redacted == {
        "shippingAddress": "[address]",
        "address": {
            "street": "[address]",
            "zip": "[address]",
            "city": "[address]",
            "country": "DE",
            "geo": ["[address]"],
        },
        "phone": "[phone]",
        "listen": {"address": "127.0.0.1:80", "ip_address": "somewhere else"},
        "parameters": value["parameters"],
        "contact": {"mobile": ["[phone]"], "phone": "none"},
    }
    assert redact_json(redacted) is redacted


def test_a_redactor_that_is_too_slow_is_counted_as_such() -> None:
    over = threading.Event()

    def redact(data: bytes) -> bytes:
        if b"I am" in data:
            over.wait()
        return data

    fake = FakeMirror(redact=redact, redact_timeout=0.05)
    ask(fake.mirror)
    ask(fake.mirror, body={"model": "m", "messages": []})
    sent = fake.sent()
    over.set()
    assert [r.body for r in sent.requests] == [None, {"model": "m", "messages": []}]
    assert [r.without_content for r in sent.requests] == ["redactor_timeout", ""]
    assert fake.mirror.stats()["without_content"] == {"redactor_timeout": 1}


def test_records_that_exist_go_the_same_ways() -> None:
    request = MirroredRequest(
        request_id="r", ts=0, service="s", route="/u/bob@example.com", protocol="openai.chat", body=BODY
    )
    response = Response(
        request_id="r", ts=0, completed_at=0, service="s", route=request.route, role="served", output="Bob"
    )
    whys = {}
    for mode in ("full", "redacted", "hashed", "metadata"):
        out, answer, why = Outflow(Capture(content=mode), KEY).let_out(request, response)
        whys[mode] = why
        assert out.without_content == why
        assert out.route == answer.route
        assert ("bob@" in repr(out)) == (mode == "full")
        assert ("Bob" in repr(answer)) == (mode in ("full", "redacted"))
    assert whys == {"full": "", "redacted": "", "hashed": "hashed", "metadata": "metadata"}
    assert (request.body, response.output) == (BODY, "Bob"), "what was given is as it was"

    def fails(data: bytes) -> bytes:
        raise ValueError("no")

    out, answer, why = Outflow(Capture(redact=fails)).let_out(request, response)
    assert (why, out.body, out.route, answer.output, answer.error) == (
        *("redactor_failed", None, "(unredactable)", "", "no_content"),
    )
