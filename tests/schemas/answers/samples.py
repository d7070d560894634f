"""Answers of Anthropic's Messages API and of OpenAI's Responses API, whole and as streams: the same text and call."""

import json
from typing import Any

TEXT = "Le café est à 3 €, naïve — yes."
ARGUMENTS = '{"order": 17}'


def event(kind: str, **data: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data}, ensure_ascii=False)}\n\n".encode()


MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-served",
    "content": [
        {"type": "thinking", "thinking": "They want a price.", "signature": "x"},
        {"type": "text", "text": TEXT[:10]},
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "q"}},
        {"type": "text", "text": TEXT[10:]},
        {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"order": 17}},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 4, "cache_read_input_tokens": 3, "output_tokens": 9},
}
MESSAGE_STREAM = b"".join(
    [
        event(
            "message_start",
            message=MESSAGE
            | {
                "content": [],
                "stop_reason": None,
                "usage": MESSAGE["usage"] | {"output_tokens": 1},
            },
        ),
        event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""}),
        event("ping"),
        event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "They want"}),
        event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "x"}),
        event("content_block_stop", index=0),
        event("content_block_start", index=1, content_block={"type": "text", "text": ""}),
        event("content_block_delta", index=1, delta={"type": "text_delta", "text": TEXT[:10]}),
        event("content_block_delta", index=1, delta={"type": "text_delta", "text": TEXT[10:]}),
        event("content_block_stop", index=1),
        event(
            "content_block_start",
            index=2,
            content_block={"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {}},
        ),
        event("content_block_delta", index=2, delta={"type": "input_json_delta", "partial_json": ""}),
        event("content_block_delta", index=2, delta={"type": "input_json_delta", "partial_json": '{"order"'}),
        event("content_block_delta", index=2, delta={"type": "input_json_delta", "partial_json": ": 17}"}),
        event("content_block_stop", index=2),
        event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 9}),
        event("message_stop"),
    ]
)

RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "gpt-served",
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "content": [{"type": "output_text", "text": TEXT, "annotations": []}],
        },
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_1",
            "name": "look_up",
            "arguments": ARGUMENTS,
        },
    ],
    "usage": {"input_tokens": 7, "output_tokens": 9, "total_tokens": 16},
}
_CALL = RESPONSE["output"][3]
RESPONSE_STREAM = b"".join(
    [
        event("response.created", response=RESPONSE | {"status": "in_progress", "output": []}),
        event("response.output_item.added", output_index=0, item={"type": "reasoning", "id": "rs_1"}),
        event("response.reasoning_summary_text.delta", item_id="rs_1", delta="Hm."),
        event("response.output_item.added", output_index=1, item={"type": "message", "id": "msg_1"}),
        event("response.output_text.delta", item_id="msg_1", delta=TEXT[:10]),
        event("response.output_text.delta", item_id="msg_1", delta=TEXT[10:]),
        event("response.output_text.done", item_id="msg_1", text=TEXT),
        event("response.output_item.added", output_index=2, item=_CALL | {"arguments": ""}),
        event("response.function_call_arguments.delta", item_id="fc_1", delta='{"order":'),
        event("response.function_call_arguments.delta", item_id="fc_1", delta=" 17}"),
        event("response.function_call_arguments.done", item_id="fc_1", arguments=ARGUMENTS),
        event("response.completed", response=RESPONSE),
    ]
)
