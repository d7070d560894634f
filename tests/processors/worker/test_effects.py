"""No shadow request may do more than be answered: what could is refused before a call, and the pair says why."""

import asyncio
from typing import Any

import pytest

from shadowlane.errors import ConfigError
from shadowlane.processors.worker.caller import Caller
from shadowlane.processors.worker.effects import same_host, side_effect, take_out
from shadowlane.processors.worker.target import Plan
from shadowlane.schemas.config import Candidate, Rollout, Stable, Worker
from shadowlane.schemas.events import ABSTAINING, MirroredRequest, Response
from tests.processors.worker.fake_candidate import FakeCandidate
from tests.processors.worker.serving import responded

CHAT, RESPONSES, MESSAGES = "openai.chat", "openai.responses", "anthropic.messages"
WORKER = Worker(timeout_s=30, max_attempts=1)


@pytest.mark.parametrize(
    ("protocol", "tool"),
    [
        (CHAT, {"type": "function", "function": {"name": "refund"}}),
        (CHAT, {"type": "custom", "custom": {"name": "sql"}}),
        (RESPONSES, {"type": "function", "name": "refund"}),
        (RESPONSES, {"type": "computer_use_preview", "environment": "browser"}),
        (RESPONSES, {"type": "local_shell"}),
        (RESPONSES, {"type": "shell", "environment": {"type": "local"}}),
        (RESPONSES, {"type": "namespace", "name": "crm", "tools": [{"type": "function", "name": "f"}]}),
        (MESSAGES, {"name": "refund", "input_schema": {}}),
        (MESSAGES, {"type": "custom", "name": "refund", "input_schema": {}}),
        (MESSAGES, {"type": "bash_20250124", "name": "bash"}),
        (MESSAGES, {"type": "text_editor_20250728", "name": "edit"}),
        (MESSAGES, {"type": "computer_20251124", "name": "computer"}),
        (MESSAGES, {"type": "memory_20250818", "name": "memory"}),
    ],
)
def test_a_tool_that_the_service_runs_may_be_offered(protocol: str, tool: dict[str, Any]) -> None:
    assert side_effect({"tools": [tool]}, protocol) == ""


@pytest.mark.parametrize(
    ("protocol", "kind"),
    [
        *((RESPONSES, kind) for kind in ("web_search", "web_search_preview", "file_search", "mcp", "shell")),
        *((RESPONSES, kind) for kind in ("code_interpreter", "image_generation", "of_tomorrow")),
        (CHAT, "code_interpreter"),
        *((MESSAGES, f"{kind}_20260101") for kind in ("web_search", "web_fetch", "code_execution")),
        (MESSAGES, "mcp_toolset"),
        (MESSAGES, "of_tomorrow_20270101"),
    ],
)
def test_any_other_tool_is_refused_until_it_is_allowed_by_name(protocol: str, kind: str) -> None:
    body = {"tools": [{"type": "custom", "name": "own"}, {"type": kind, "name": "x"}]}
    found = side_effect(body, protocol)
    assert found.startswith(f"tools[1] is of type {kind!r}")
    name = kind.removesuffix("_20260101").removesuffix("_20270101")
    assert f"allow: [{name}]" in found
    assert side_effect(body, protocol, [name]) == ""
    assert side_effect(body, protocol, ["another"]) == found


def test_a_tool_of_the_providers_within_a_namespace_is_found() -> None:
    inner = [{"type": "function", "name": "f"}, {"type": "mcp", "server_label": "crm"}]
    body = {"tools": [{"type": "namespace", "name": "n", "tools": inner}]}
    assert side_effect(body, RESPONSES).startswith("tools[0].tools[1] is of type 'mcp'")


@pytest.mark.parametrize(
    ("protocol", "name", "value"),
    [
        (CHAT, "web_search_options", {"search_context_size": "low"}),
        (CHAT, "plugins", [{"id": "web"}]),
        (RESPONSES, "previous_response_id", "resp_1"),
        (RESPONSES, "prompt", {"id": "pmpt_1"}),
        (MESSAGES, "mcp_servers", [{"type": "url", "url": "https://crm.example.com", "name": "crm"}]),
        (MESSAGES, "container", "container_1"),
    ],
)
def test_what_the_provider_keeps_or_runs_is_refused_until_it_is_allowed(
    protocol: str, name: str, value: Any
) -> None:
    assert side_effect({name: value}, protocol).startswith(f"{name}: ")
    assert side_effect({name: value}, protocol, [name]) == ""
    assert side_effect({name: None}, protocol) == ""
    other = MESSAGES if protocol != MESSAGES else CHAT
    assert (
        side_effect({name: value}, other) == ""
    )  # a member that this API has not is the candidate's to refuse


def test_productions_own_conversation_can_not_be_allowed() -> None:
    found = side_effect({"conversation": "conv_1"}, RESPONSES, ["conversation"])
    assert found.startswith("conversation: the provider would add the answer")
    assert "allow" not in found


def test_an_item_that_the_provider_keeps_is_refused() -> None:
    body = {"input": [{"role": "user", "content": "hi"}, {"type": "item_reference", "id": "rs_1"}]}
    assert side_effect(body, RESPONSES).startswith("input[1] is an item_reference")
    assert side_effect(body, RESPONSES, ["item_reference"]) == ""


@pytest.mark.parametrize(
    ("protocol", "body", "after", "left_out"),
    [
        (RESPONSES, {"input": "x"}, {"input": "x", "store": False}, ()),
        (RESPONSES, {"store": True, "background": True}, {"store": False}, ("background",)),
        (RESPONSES, {"background": False}, {"store": False}, ()),
        (CHAT, {"store": True}, {"store": False}, ()),
        (CHAT, {}, {}, ()),  # not every server that is compatible knows it
        (MESSAGES, {"store": True}, {"store": True}, ()),
    ],
)
def test_nothing_of_productions_is_stored_a_second_time(
    protocol: str, body: dict[str, Any], after: dict[str, Any], left_out: tuple[str, ...]
) -> None:
    assert take_out(body | {}, protocol, ["store", "background"]) == ()
    assert take_out(body, protocol) == left_out
    assert body == after


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("shop.example.com", "shop.example.com", True),
        ("Shop.Example.com.", "shop.example.com", True),
        ("shop.example.com:8080", "shop.example.com", True),  # production may be behind another port
        ("shop.example.com:8080", "shop.example.com:8081", False),
        ("shop.example.com", "shop.example.org", False),
        ("a.shop.example.com", "*.shop.example.com", True),
        ("shop.example.com", "*.shop.example.com", False),
        ("evilshop.example.com", "*.shop.example.com", False),
        ("[::1]:8080", "[::1]:8080", True),
        ("[::1]:8080", "::1", True),
        ("[::1]:8080", "[::1]:8081", False),
        ("", "", False),
    ],
)
def test_hosts(one: str, other: str, same: bool) -> None:
    assert same_host(one, other) is same


def asked(**more: Any) -> MirroredRequest:
    values: dict[str, Any] = {"protocol": CHAT, "body": {"messages": [{"role": "user", "content": "ok"}]}}
    return MirroredRequest(request_id="a", ts=1, service="s", route="/r", **values | more)


def shadow(rollout: Rollout, request: MirroredRequest) -> Response:
    async def call() -> Response:
        caller = Caller(WORKER)
        try:
            return await responded(caller, request, Plan.of(rollout, WORKER))
        finally:
            await caller.close()

    return asyncio.run(call())


def test_a_request_with_a_tool_of_the_providers_makes_no_call(candidate: FakeCandidate) -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "ok"}]}
    body["web_search_options"] = {"search_context_size": "low"}
    response = shadow(Rollout(name="r", candidate=Candidate(base_url=candidate.base_url)), asked(body=body))
    assert (response.error, response.attempts, response.request) == ("side_effect", 0, None)
    assert "web_search_options" in response.error_message
    assert response.error in ABSTAINING
    assert candidate.calls.total() == 0
    allowing = Candidate(base_url=candidate.base_url, allow=["web_search_options"])
    assert shadow(Rollout(name="r", candidate=allowing), asked(body=body)).error == ""
    assert candidate.calls.total() == 1


def test_a_web_service_is_not_asked_where_production_asked_it(candidate: FakeCandidate) -> None:
    url = candidate.base_url.removesuffix("/v1") + "/echo"
    mirrored = asked(protocol="json", body={"a": 1}, host=f"127.0.0.1:{candidate.port}")
    refused = shadow(Rollout(name="r", candidate=Candidate(kind="http", base_url=url)), mirrored)
    assert (refused.error, refused.attempts, refused.output) == ("side_effect", 0, "")
    assert "is where production asked" in refused.error_message
    allowing = Candidate(kind="http", base_url=url, allow=["production_host"])
    assert shadow(Rollout(name="r", candidate=allowing), mirrored).output == '{"a":1}'
    elsewhere = asked(protocol="json", body={"a": 1}, host="127.0.0.1:1")
    assert shadow(Rollout(name="r", candidate=Candidate(kind="http", base_url=url)), elsewhere).error == ""


def test_a_models_api_may_be_the_one_that_production_asks(candidate: FakeCandidate) -> None:
    mirrored = asked(host=f"127.0.0.1:{candidate.port}")
    assert shadow(Rollout(name="r", candidate=Candidate(base_url=candidate.base_url)), mirrored).error == ""


@pytest.mark.parametrize(
    ("stable", "candidate", "hosts", "says"),
    [
        ({}, {"base_url": "https://shop.example.com/v2"}, ["*.example.com"], "worker.production_hosts"),
        (
            {"kind": "http", "base_url": "https://shop.example.com/v1"},
            {"base_url": "https://shop.example.com/v2"},
            [],
            "the stable version's",
        ),
        (
            {"kind": "http", "base_url": "https://shop.example.com/v1"},
            {"base_url": "https://next.example.com"},
            ["shop.example.com"],
            "stable.base_url",
        ),
    ],
)
def test_a_configuration_that_names_productions_host_is_refused(
    stable: dict[str, Any], candidate: dict[str, Any], hosts: list[str], says: str
) -> None:
    rollout = Rollout(name="r", stable=Stable(**stable), candidate=Candidate(kind="http", **candidate))
    with pytest.raises(ConfigError, match="is production's") as raised:
        Plan.of(rollout, Worker(production_hosts=hosts))
    assert says in str(raised.value)


def test_overrides_that_would_reach_a_side_effect_are_refused() -> None:
    version = Candidate(
        kind="openai-responses", base_url="http://h/v1", overrides={"tools": [{"type": "mcp"}]}
    )
    with pytest.raises(ConfigError, match=r"candidate\.overrides: tools\[0\] is of type 'mcp'"):
        Plan.of(Rollout(name="r", candidate=version), WORKER)


def test_the_workers_own_headers_can_not_be_configured() -> None:
    version = Candidate(base_url="http://h/v1", headers={"X-Shadowlane-Shadow": "0"})
    with pytest.raises(ConfigError, match="x-shadowlane-shadow is the worker's own"):
        Plan.of(Rollout(name="r", candidate=version), WORKER)


@pytest.mark.parametrize("request_id", ["a b", "é", "a\r\nx: 1", "x" * 300])
def test_an_id_that_can_not_stand_in_a_header_does_not(candidate: FakeCandidate, request_id: str) -> None:
    request = asked()
    request.request_id = request_id
    assert shadow(Rollout(name="r", candidate=Candidate(base_url=candidate.base_url)), request).error == ""
    assert "x-shadowlane-request" not in candidate.headers["ok"]
    assert candidate.headers["ok"]["x-shadowlane-shadow"] == "1"
