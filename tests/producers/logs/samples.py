"""Lines as the services write them: shortened, every member that is read among others that are not."""

from typing import Any

CHAT_BODY = {
    "model": "gpt-4o-2024-08-06",
    "temperature": 0.2,
    "messages": [{"role": "user", "content": "why?"}],
}
COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
    "object": "chat.completion",
    "created": 1772323201,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Because.", "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29},
    "service_tier": "default",
}
RESPONSE: dict[str, Any] = {
    "id": "resp_67ccd2bed1ec8190b14f964abc054267",
    "object": "response",
    "created_at": 1772323201,
    "status": "completed",
    "error": None,
    "model": "gpt-4.1-2025-04-14",
    "output": [
        {
            "type": "message",
            "id": "msg_67ccd2bf17f0819081ff3bb2cf6508e6",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Because.", "annotations": []}],
        }
    ],
    "usage": {
        "input_tokens": 36,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 87,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 123,
    },
}
MESSAGE: dict[str, Any] = {
    "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "Because."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 2095, "output_tokens": 503},
}
MESSAGES_BODY = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "why?"}],
}

LITELLM: dict[str, Any] = {
    "id": "chatcmpl-05f6ba4c-db91-4861-a572-95adc48a70c0",
    "trace_id": "b89b7de4-f809-4c83-b6a0-7e9ff2a3e545",
    "session_id": "s-1",
    "litellm_call_id": "a31b3178-3872-477b-86d3-68ed8803ba76",
    "call_type": "acompletion",
    "stream": True,
    "status": "success",
    "custom_llm_provider": "openai",
    "total_tokens": 29,
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "startTime": 1772323200.25,
    "endTime": 1772323201.5,
    "completionStartTime": 1772323200.75,
    "model": "gpt-4o-2024-08-06",
    "model_group": "smart",
    "api_base": "https://api.openai.com",
    "metadata": {"user_api_key_team_alias": "search", "user_api_key_hash": "e2f"},
    "cache_hit": None,
    "request_tags": ["beta", "eu"],
    "end_user": "u-7",
    "messages": [{"role": "user", "content": "why?"}],
    "response": COMPLETION,
    "error_str": None,
    "error_information": {"error_code": "", "error_class": "", "llm_provider": "", "error_message": ""},
    "model_parameters": {"temperature": 0.2, "stream": True},
    "hidden_params": {"model_id": None},
}
LITELLM_FAILURE = LITELLM | {
    "id": "b180e79d-cf6e-485c-8a8d-f37e71548d58",
    "status": "failure",
    "response": {},
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "error_str": "litellm.RateLimitError: RateLimitError: OpenAIException - slow down",
    "error_information": {
        "error_code": "429",
        "error_class": "RateLimitError",
        "llm_provider": "openai",
        "traceback": "…",
        "error_message": "RateLimitError: OpenAIException - slow down",
    },
}

# The API's form and, of the same observation, the blob storage's (observations_v2).
LANGFUSE: dict[str, Any] = {
    "id": "obs-1",
    "traceId": "t-1",
    "type": "GENERATION",
    "name": "answer",
    "environment": "production",
    "startTime": "2026-03-01T00:00:00.250Z",
    "endTime": "2026-03-01T00:00:01.500Z",
    "completionStartTime": "2026-03-01T00:00:00.750Z",
    "model": "gpt-4o-2024-08-06",
    "modelParameters": {"temperature": 0.2, "max_tokens": "Infinity", "top_p": 1},
    "input": [{"role": "user", "content": "why?"}],
    "output": {"role": "assistant", "content": "Because."},
    "usageDetails": {"input": 19, "output": 10, "total": 29},
    "level": "DEFAULT",
    "statusMessage": None,
    "sessionId": "s-1",
    "userId": "u-7",
    "promptName": "why",
    "promptVersion": 3,
}
LANGFUSE_BLOB: dict[str, Any] = {
    "id": "obs-1",
    "trace_id": "t-1",
    "project_id": "p",
    "type": "GENERATION",
    "name": "answer",
    "environment": "production",
    "start_time": "2026-03-01 00:00:00.250000",
    "end_time": "2026-03-01 00:00:01.500000",
    "completion_start_time": "2026-03-01 00:00:00.750000",
    "provided_model_name": "gpt-4o-2024-08-06",
    "model_parameters": '{"temperature":0.2,"max_tokens":"Infinity","top_p":1}',
    "input": '[{"role":"user","content":"why?"}]',
    "output": '{"role":"assistant","content":"Because."}',
    "usage_details": {"input": 19, "output": 10, "total": 29},
    "level": "DEFAULT",
    "status_message": "",
    "session_id": "s-1",
    "user_id": "u-7",
    "prompt_name": "why",
    "prompt_version": 3,
}
