"""The agent of the example, step by step as Kafka gets it."""

import openai
import pytest

from examples.agent import agent
from tests.e2e import agents
from tests.producers.support import FakeMirror


def test_each_step_is_a_request_with_its_whole_context() -> None:
    fake, trap = FakeMirror(), agents.Trap(agent.TOOLS)
    turns, steps = agents.script(7)  # two turns, a tool in each
    with agents.models() as server, trap.production():
        url = f"http://127.0.0.1:{server.server_port}/v1"
        with openai.OpenAI(base_url=url, api_key="k") as client:
            said = agent.converse(fake.mirror, fake.mirror.wrap(client), "c-7", turns, trap.tools)
    assert said == ["It is lost.", "Done."]
    sent = fake.sent()
    assert not fake.mirror.stats()["without_content"]
    asked = [request.body["messages"] for request in sent.requests]
    assert [len(messages) for messages in asked] == [2, 4, 6, 8]
    assert asked == [server.context("stable", 7, step) for step in range(1, len(steps) + 1)]
    assert {request.attributes["session.id"] for request in sent.requests} == {"c-7"}
    called = [[call["name"] for call in response.tool_calls or ()] for response in sent.served]
    assert called == [["look_up"], [], ["refund"], []]
    assert trap.runs.total() == 2


def test_it_runs_as_it_stands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake = FakeMirror()
    monkeypatch.setattr(agent, "Mirror", lambda **_: fake.mirror)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with agents.models() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
        agent.main()
    assert capsys.readouterr().out.splitlines() == ["It is lost.", "Done."]
    assert [request.key for request in fake.sent().requests] == ["conversation-1"] * 4
