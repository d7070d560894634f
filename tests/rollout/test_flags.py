"""The OFREP endpoint: by OpenFeature's own client, and by the letter of the protocol."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import aiohttp
import pytest
from aiohttp import web
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import FlagNotFoundError, OpenFeatureError, TargetingKeyMissingError

from shadowlane.errors import ConfigError
from shadowlane.rollout.flags import Endpoint, run, token_of
from shadowlane.rollout.router import Router
from shadowlane.rollout.routing import candidate_serves
from shadowlane.schemas.config import Flags, Settings
from tests.rollout.routers import FakeFollower, fake_followers, following, state
from tests.services import free_port

IN = next(f"k{n}" for n in range(1000) if candidate_serves("desk", f"k{n}", 5))
OUT = next(f"k{n}" for n in range(1000) if not candidate_serves("desk", f"k{n}", 95))
TOKEN = "s3cret"
T = TypeVar("T")


class Served:
    """An endpoint on a port of its own, in a thread; ``ask`` gives (status, headers, document)."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._loop = asyncio.new_event_loop()
        self._runner = web.AppRunner(endpoint.application(), access_log=None)
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._wait(self._start())

    def ask(
        self, path: str, body: Any = None, *, method: str = "POST", **headers: str
    ) -> tuple[int, Any, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._wait(self._ask(method, path, data, {k.replace("_", "-"): v for k, v in headers.items()}))

    def close(self) -> None:
        self._wait(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def _ask(
        self, method: str, path: str, data: bytes, headers: dict[str, str]
    ) -> tuple[int, Any, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, data=data, headers=headers) as answer,
        ):
            text = await answer.text()
            is_json = answer.content_type == "application/json"
            return answer.status, answer.headers, json.loads(text) if is_json and text else text

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


@pytest.fixture
def routed(monkeypatch: pytest.MonkeyPatch) -> tuple[Router, FakeFollower]:
    return following(
        fake_followers(monkeypatch), state(traffic_pct=5.0, candidate_overrides={"n": 1, "t": None})
    )


@pytest.fixture
def served(routed: tuple[Router, FakeFollower]) -> Iterator[Served]:
    served = Served(Endpoint(routed[0], {"desk": "config", "quiet": "calm", "bare": ""}, ""))
    yield served
    served.close()


@pytest.fixture
def guarded(routed: tuple[Router, FakeFollower]) -> Iterator[Served]:
    served = Served(Endpoint(routed[0], {}, TOKEN))
    yield served
    served.close()


def context(key: Any = IN, **attributes: Any) -> dict[str, Any]:
    return {"context": {"targetingKey": key, **attributes}}


def test_openfeatures_client_gets_the_model(served: Served, routed: tuple[Router, FakeFollower]) -> None:
    client = OFREPProvider(served.url)
    for key, value, arm in ((IN, "new", "candidate"), (OUT, "old", "stable")):
        details = client.resolve_string_details("desk", "mine", EvaluationContext(key))
        assert (details.value, details.variant, details.reason) == (value, arm, "SPLIT")
        assert details.flag_metadata["stage"] == "canary"
    routed[1].gives(state(seq=2, traffic_pct=100.0, excluded=["tier=2"]))
    details = client.resolve_string_details("desk", "mine", EvaluationContext(OUT))
    assert (details.value, details.reason) == ("new", "STATIC")
    details = client.resolve_string_details("desk", "mine", EvaluationContext(OUT, {"tier": 2}))
    assert (details.value, details.reason) == ("old", "TARGETING_MATCH")


def test_openfeatures_client_understands_the_errors(served: Served, guarded: Served) -> None:
    client = OFREPProvider(served.url)
    with pytest.raises(FlagNotFoundError, match="no rollout 'none'"):
        client.resolve_string_details("none", "mine", EvaluationContext(IN))
    with pytest.raises(TargetingKeyMissingError, match="targetingKey"):
        client.resolve_string_details("desk", "mine", EvaluationContext())
    with pytest.raises(OpenFeatureError, match="unauthorized"):
        OFREPProvider(guarded.url).resolve_string_details("desk", "mine", EvaluationContext(IN))
    allowed = OFREPProvider(guarded.url, headers_factory=lambda: {"Authorization": f"Bearer {TOKEN}"})
    assert allowed.resolve_string_details("desk", "mine", EvaluationContext(IN)).value == "new"


def test_one_flag_by_the_letter(served: Served) -> None:
    status, _, document = served.ask("/ofrep/v1/evaluate/flags/desk", context(language="en"))
    assert (status, document) == (
        200,
        {
            "key": "desk",
            "value": "new",
            "variant": "candidate",
            "reason": "SPLIT",
            "metadata": {
                "rollout": "desk",
                "epoch": "e1",
                "stage": "canary",
                "trafficPct": 5.0,
                "overrides": '{"n":1,"t":null}',
            },
        },
    )


def test_a_versions_prompt_goes_along(served: Served, routed: tuple[Router, FakeFollower]) -> None:
    prompt = {"api": "openai.chat", "replace": ""}
    routed[1].gives(state(seq=2, candidate_prompt=prompt))
    for key, told in ((IN, '{"api":"openai.chat","replace":""}'), (OUT, None)):
        _, _, document = served.ask("/ofrep/v1/evaluate/flags/desk", context(key))
        assert document["metadata"].get("prompt") == told


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "PARSE_ERROR"),
        (b"[]", "INVALID_CONTEXT"),
        (b'{"context": []}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": 7}}', "INVALID_CONTEXT"),
        (b'{"context": {}}', "TARGETING_KEY_MISSING"),
        (b'{"context": {"targetingKey": ""}}', "TARGETING_KEY_MISSING"),
        (b"{}", "TARGETING_KEY_MISSING"),
        (b"", "TARGETING_KEY_MISSING"),
    ],
)
def test_what_can_t_be_evaluated(served: Served, body: bytes, code: str) -> None:
    status, _, document = served.ask("/ofrep/v1/evaluate/flags/desk", body)
    assert (status, document["key"], document["errorCode"]) == (400, "desk", code)
    assert document["errorDetails"]
    status, _, document = served.ask("/ofrep/v1/evaluate/flags", body)
    assert (status, set(document), document["errorCode"]) == (400, {"errorCode", "errorDetails"}, code)


def test_a_rollout_that_kafka_does_not_know_yet_is_served_by_the_stable_version(served: Served) -> None:
    for flag, value in (("quiet", "calm"), ("bare", "stable")):
        status, _, document = served.ask(f"/ofrep/v1/evaluate/flags/{flag}", context())
        assert (status, document["value"], document["variant"]) == (200, value, "stable")
        assert (document["reason"], document["metadata"]) == ("DEFAULT", {"rollout": flag})
    assert served.ask("/ofrep/v1/evaluate/flags/none", context())[0] == 404


def test_all_flags_and_whether_they_changed(served: Served, routed: tuple[Router, FakeFollower]) -> None:
    status, headers, document = served.ask("/ofrep/v1/evaluate/flags", context())
    assert status == 200
    assert [(f["key"], f["value"]) for f in document["flags"]] == [
        ("bare", "stable"),
        ("desk", "new"),
        ("quiet", "calm"),
    ]
    tag = headers["ETag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        status, headers, document = served.ask("/ofrep/v1/evaluate/flags", context(), If_None_Match=known)
        assert (status, headers["ETag"], document) == (304, tag, "")
    assert served.ask("/ofrep/v1/evaluate/flags", context(OUT), If_None_Match=tag)[0] == 200
    routed[1].gives(state(seq=2, traffic_pct=0.0))
    status, headers, document = served.ask("/ofrep/v1/evaluate/flags", context(), If_None_Match=tag)
    assert (status, document["flags"][1]["value"]) == (200, "old")
    assert headers["ETag"] != tag


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": f"Bearer {TOKEN}"}, 200),
        ({"Authorization": f"bearer {TOKEN}"}, 200),
        ({"X-API-Key": TOKEN}, 200),
    ],
)
def test_a_token_is_asked_for(guarded: Served, headers: dict[str, str], status: int) -> None:
    assert guarded.ask("/ofrep/v1/evaluate/flags/desk", context(), **headers)[0] == status
    assert guarded.ask("/ofrep/v1/evaluate/flags", context(), **headers)[0] == status
    assert guarded.ask("/health", b"", method="GET", **headers)[0] == 200


def test_health_tells_of_kafka(served: Served, routed: tuple[Router, FakeFollower]) -> None:
    _, _, document = served.ask("/health", b"", method="GET")
    assert (document["up"], document["ready"]) == (True, False)
    assert document["kafka_contact_age_s"] >= 0
    routed[1].ready.set()
    assert served.ask("/health", b"", method="GET")[2]["ready"] is True


def test_what_is_too_large_or_the_wrong_method_is_refused(served: Served) -> None:
    assert served.ask("/ofrep/v1/evaluate/flags/desk", b" " * 70_000)[0] == 413
    assert served.ask("/ofrep/v1/evaluate/flags/desk", b"", method="GET")[0] == 405


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_on_this_machine_no_token_is_needed(host: str) -> None:
    assert token_of(Flags(host=host)) == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "flags.example"])
def test_beyond_this_machine_it_does_not_start_without_a_token(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"flags\.token_env"):
        run(Settings(flags=Flags(host=host)))
    with pytest.raises(ConfigError, match="FLAGS_TOKEN, which is not set"):
        run(Settings(flags=Flags(host=host, token_env="FLAGS_TOKEN")))
    monkeypatch.setenv("FLAGS_TOKEN", TOKEN)
    assert token_of(Flags(host=host, token_env="FLAGS_TOKEN")) == TOKEN


def test_it_runs_without_kafka_until_it_is_told_to_stop() -> None:
    """Until Kafka answers, the stable version serves; a second one on the port is refused; SIGTERM ends it."""
    port = free_port()
    settings = (
        f"Settings(kafka={{'bootstrap_servers': '127.0.0.1:{free_port()}'}}, flags={{'port': {port}}},"
        "rollouts=[{'name': 'desk', 'stable': {'model': 'old'}, 'candidate': {'base_url': 'http://x'}}])"
    )
    code = (
        "import logging, sys; logging.basicConfig(level='INFO', stream=sys.stdout)\n"
        "from shadowlane.rollout.flags import run; from shadowlane.schemas.config import Settings\n"
        f"run({settings})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert any("flags started" in line for line in process.stdout)
        details = OFREPProvider(f"http://127.0.0.1:{port}").resolve_string_details(
            "desk", "mine", EvaluationContext("k")
        )
        assert (details.value, details.reason) == ("old", "DEFAULT")
        with pytest.raises(ConfigError, match=f"can't listen on 127.0.0.1:{port}"):
            run(Settings(flags=Flags(port=port)))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()
