"""Conversations as users have them: made by Hypothesis, in the form that reading a request gives."""

import json

from hypothesis import strategies as st

from shadowlane.schemas.requests.conversation import (
    Choice,
    Conversation,
    Format,
    Image,
    Message,
    Part,
    Text,
    Tool,
    ToolCall,
    ToolNamed,
    ToolResult,
)

PNG = "data:image/png;base64,iVBORw0KGgo="
names = st.sampled_from(["look_up", "refund", "send_mail"])
texts = st.text(min_size=1, max_size=20).map(Text)
images = st.builds(Image, st.sampled_from([PNG, "https://example.com/cat.jpg"]))
arguments = st.dictionaries(st.text(max_size=4), st.integers(-9, 9) | st.text(max_size=4), max_size=2).map(
    lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False)
)
schemas = st.just({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False})


@st.composite
def turns(draw: st.DrawFn) -> list[Message]:
    """A user's message, an assistant's answer, perhaps by way of tools; the last word is the user's or a tool's."""
    messages: list[Message] = []
    number = 0
    for _ in range(draw(st.integers(0, 2))):
        messages.append(Message("user", tuple(draw(st.lists(texts | images, min_size=1, max_size=3)))))
        for _ in range(draw(st.integers(0, 2))):
            calls: list[Part] = []
            results: list[Part] = []
            for _ in range(draw(st.integers(1, 2))):
                number += 1
                calls.append(ToolCall(f"call_{number}", draw(names), draw(arguments)))
                results.append(ToolResult(f"call_{number}", (draw(texts),)))
            said: list[Part] = [*draw(st.lists(texts, max_size=1))]
            messages += [Message("assistant", (*said, *calls)), Message("user", tuple(results))]
        messages.append(Message("assistant", (draw(texts),)))
    messages.append(Message("user", tuple(draw(st.lists(texts | images, min_size=1, max_size=3)))))
    return messages


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """What all three APIs have words for."""
    system = [Message("system", (part,)) for part in draw(st.lists(texts, max_size=1))]
    tools = [
        Tool(name, draw(st.text(max_size=9)), draw(schemas), draw(st.booleans()))
        for name in draw(st.lists(names, unique=True, max_size=2))
    ]
    chosen: list[Choice | ToolNamed] = ["auto", "none", "required", ToolNamed("look_up")]
    return Conversation(
        model=draw(st.sampled_from(["m", "gpt-5"])),
        messages=system + draw(turns()),
        tools=tools,
        tool_choice=draw(st.sampled_from(chosen)) if draw(st.booleans()) and tools else None,
        format=draw(st.none() | st.builds(Format, schemas, strict=st.just(True))),
        max_tokens=draw(st.integers(1, 9999)),
        temperature=draw(st.none() | st.floats(0, 1)),
        top_p=draw(st.none() | st.floats(0, 1)),
        effort=draw(st.sampled_from(["", "low", "medium", "high"])),
    )
