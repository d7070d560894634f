"""Real clients, each in an environment of its own (``make clients``): what a service sees of them with the mirror is
what it sees without, and what Kafka gets is complete."""

import contextlib
import gzip
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.examples.running import run_example
from tests.producers.model_server import OTHER_APIS, TEXT, Server, model_server
from tests.services import free_ports

pytestmark = pytest.mark.timeout(1200)  # hundreds of scenarios each, in a process of its own
ROOT = Path(__file__).parents[2]
WHOLE = ["plain", "calls", "gzip", "garbage", "bad", "throttled", "down", "cut-plain", "hang"]
STREAMS = ["stream", "stream-split", "stream-gzip", "stream-calls", "stream-error", "stream-undone"]
CHAT = [*WHOLE, *STREAMS, "cut-stream", "gated-stream"]
RESPONSES = ["responses", "responses-stream", "responses-bad", "cut-responses-stream"]
MESSAGES = [
    *(name for name in OTHER_APIS if name.startswith("messages")),
    "cut-messages-stream",
    "gated-messages-stream",
    "hang",
]
CLIENTS = {  # environment: (module in ways, models)
    "openai3": ("openai_sdk", [*CHAT, *RESPONSES]),
    "openai2": ("openai_sdk", [*CHAT, *RESPONSES]),
    "anthropic": ("anthropic_sdk", MESSAGES),
    "httpx2": ("bare_httpx", CHAT),
    "httpx": ("bare_httpx", CHAT),
    "instructor": ("instructor_client", ["calls", "down", "garbage"]),
    "litellm": ("litellm_callback", CHAT),
    "langchain": ("langchain_callback", CHAT),
}
CALLBACKS = ("litellm", "langchain")
RECORDED = {
    "gpt4_1106_preview": "",
    "claude-2": "error",
    "claude": "rate_limit",
    "vicuna-13b-v1.5": "garbage",
    "falcon-7b-instruct": "cut",
    "gpt-3.5-turbo-1106": "empty",
    "gpt-4o-2024-05-13": "tools",
}
FAILURES = {"http", "throttled", "connection", "timeout", "bad_response", "exception", "abandoned"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with model_server() as running:
        yield running


def python_of(client: str) -> str:
    """The interpreter of the client's environment."""
    if "SHADOWLANE_CLIENTS" not in os.environ:
        pytest.skip("the clients' environments are not there: make clients")
    return str(Path(os.environ["SHADOWLANE_CLIENTS"]) / client / "bin" / "python")


def seen(client: str, url: str, models: list[str], **environment: str) -> list[dict[str, Any]]:
    """What the client's scenarios saw of each model, and what was mirrored of them."""
    done = subprocess.run(
        [python_of(client), "-m", "tests.clients.run", CLIENTS[client][0], url, *models],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'src'}",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            **environment,
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    scenarios: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return scenarios


def assert_the_same(client: str, scenarios: list[dict[str, Any]]) -> None:
    """Every piece, object and exception, in its order; and one request for each, whatever was retried."""
    for each in scenarios:
        which = f"{client}: {each['way']} of {each['model']}"
        assert each["mirrored"] == each["bare"], which
        assert len(each["requests"]) == len(each["served"]) == 1, which
        (request,), (served,) = each["requests"], each["served"]
        assert request["model"] == each["model"], which
        assert served["error"] in FAILURES | {""}, which
        if each["text"] is not None and not served["error"]:
            assert served["output"] == each["text"], which


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_is_the_same_with_the_mirror(server: Server, client: str) -> None:
    models = CLIENTS[client][1]
    scenarios = seen(client, server.url, models)
    assert {each["model"] for each in scenarios} == set(models)
    assert_the_same(client, scenarios)
    asked = [json.loads(body) for _, _, body in server.seen]
    for each in scenarios:
        (request,) = each["requests"]
        # Whole as it was sent; LiteLLM and LangChain tell it in words of their own, with the same names and values.
        same = [body for body in asked if body == request["body"]]
        same += [body for body in asked if client in CALLBACKS and request["body"].items() <= body.items()]
        assert same, f"{client}: {each['way']} of {each['model']}: {request['body']}"


@pytest.fixture(scope="module")
def recorded() -> Iterator[str]:
    """Real models' answers, with faults (SHADOWLANE_RECORDED_MODELS)."""
    if "SHADOWLANE_RECORDED_MODELS" not in os.environ:
        pytest.skip("no recorded models: SHADOWLANE_RECORDED_MODELS names the folder that has serve.py")
    folder = Path(os.environ["SHADOWLANE_RECORDED_MODELS"])
    (port,) = free_ports(1)
    faults = [f"--fault={model}:{kind}:1" for model, kind in RECORDED.items() if kind]
    serving = subprocess.Popen([sys.executable, str(folder / "serve.py"), f"--port={port}", *faults])
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        serving.terminate()
        serving.wait()


@pytest.mark.parametrize("client", CLIENTS)
def test_so_it_is_against_recorded_models(recorded: str, client: str) -> None:
    folder = Path(os.environ["SHADOWLANE_RECORDED_MODELS"])
    with gzip.open(folder / "prompts.jsonl.gz", "rt", encoding="utf-8") as prompts:
        question = json.loads(next(prompts))["prompt"]
    scenarios = seen(client, recorded, list(RECORDED), CLIENT_QUESTION=question)
    assert {each["model"] for each in scenarios} == set(RECORDED)
    assert_the_same(client, scenarios)
    for each in scenarios:
        assert each["requests"][0]["body"]["messages"][-1] == {"role": "user", "content": question}


@pytest.mark.parametrize(
    ("client", "example"), [("litellm", "litellm_callback"), ("langchain", "langchain_handler")]
)
def test_its_example(server: Server, client: str, example: str) -> None:
    printed, request, served = run_example(python_of(client), example, server.url)
    assert TEXT in printed
    assert request["body"]["messages"][-1] == {"role": "user", "content": "Say hello."}
    assert (request["service"], served["output"], served["error"]) == (f"{client}-example", TEXT, "")
