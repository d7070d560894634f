"""An agent with tools, mirrored step by step: each call of the model is one request, the conversation is its session.

OPENAI_BASE_URL=… OPENAI_API_KEY=… SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS=… python agent.py
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import openai

from shadowlane import Mirror

MODEL = "agent-1"
PROMPT = "You are a clerk of a shop. Look up an order before you say anything of it."
ORDERS = {"A-17": {"item": "kettle", "paid": 39.9, "state": "lost"}}

Tools = Mapping[str, Callable[..., Any]]


def look_up(order: str) -> dict[str, Any]:
    """A tool that fails on an order that is not there: the model is told, and goes on."""
    return ORDERS[order]


def refund(order: str, amount: float) -> dict[str, Any]:
    """A tool with an effect, which is why nobody may run it for a shadow."""
    return {"order": order, "refunded": amount}


TOOLS: Tools = {"look_up": look_up, "refund": refund}
OFFERED = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": {key: {"type": kind} for key, kind in takes.items()},
                "required": [*takes],
            },
        },
    }
    for name, description, takes in (
        ("look_up", "What is known of an order.", {"order": "string"}),
        ("refund", "Pays an amount back.", {"order": "string", "amount": "number"}),
    )
]


def answer(client: Any, messages: list[dict[str, Any]], tools: Tools) -> str:
    """Asks the model until it answers in words. ``messages`` grows by what it says and what the tools give."""
    while True:
        completion = client.chat.completions.create(
            model=MODEL, temperature=0, messages=messages, tools=OFFERED
        )
        said = completion.choices[0].message
        messages.append(said.model_dump(exclude_none=True))
        if not said.tool_calls:
            return said.content or ""
        for call in said.tool_calls:
            content = json.dumps(result(tools, call.function))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": content})


def result(tools: Tools, function: Any) -> Any:
    """What a tool gives, or how it failed."""
    try:
        return tools[function.name](**json.loads(function.arguments))
    except Exception as exc:
        return {"error": f"{type(exc).__name__}: {exc}"}


def converse(mirror: Mirror, client: Any, session: str, turns: list[str], tools: Tools) -> list[str]:
    """A whole conversation; gives what the agent said."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": PROMPT}]
    with mirror.context(session=session):
        return [answer(client, _said(messages, turn), tools) for turn in turns]


def _said(messages: list[dict[str, Any]], turn: str) -> list[dict[str, Any]]:
    messages.append({"role": "user", "content": turn})
    return messages


def main() -> None:
    mirror = Mirror(service="agent")
    client = mirror.wrap(openai.OpenAI())
    for said in converse(
        mirror, client, "conversation-1", ["Where is my order A-17?", "Then pay me."], TOOLS
    ):
        print(said)


if __name__ == "__main__":
    main()
