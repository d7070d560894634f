"""Whatever a line holds, a format gives a call, nothing, or the refusal; and a call can be sent."""

import contextlib
import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.errors import CodecError, ConfigError
from shadowlane.producers.logs import FORMATS, Mapping, Reader, recognised
from shadowlane.producers.logs.reading import Call
from shadowlane.producers.logs.records import records
from shadowlane.schemas.codec import encode
from tests.producers.logs import samples
from tests.producers.logs.test_mapped import FIELDS, JSON, LINE

BATCH = {"custom_id": "a", "url": "/v1/responses", "body": samples.CHAT_BODY}
RESULT = {"custom_id": "a", "response": {"status_code": 200, "body": samples.COMPLETION}, "error": None}
LINES: dict[str, list[dict[str, Any]]] = {
    "shadowlane": [{"request": samples.CHAT_BODY, "response": "ho", "ts": 5, "attributes": {"a": "b"}}],
    "openai": [
        {"request": {"body": samples.CHAT_BODY}, "response": {"status": 200, "body": samples.COMPLETION}}
    ],
    "anthropic": [{"request": samples.MESSAGES_BODY, "response": samples.MESSAGE, "ts": 5, "error": None}],
    "openai-batch": [BATCH, RESULT],
    "anthropic-batch": [
        {"custom_id": "a", "params": samples.MESSAGES_BODY},
        {"custom_id": "a", "result": {"type": "succeeded", "message": samples.MESSAGE, "error": None}},
    ],
    "litellm": [samples.LITELLM, samples.LITELLM_FAILURE],
    "langfuse": [samples.LANGFUSE, samples.LANGFUSE_BLOB],
    "mapping": [LINE],
}


def reader(form: str) -> Reader:
    return Reader(Mapping(FIELDS).read) if form == "mapping" else FORMATS[form].reader()


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, one in inner for path in paths(one, (*at, key)))]


@st.composite
def hurt(draw: st.DrawFn, line: dict[str, Any]) -> Any:
    """A line in which one thing is another."""
    path = draw(st.sampled_from(paths(line)))
    if not path:
        return draw(JSON)
    made = copy.deepcopy(line)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = draw(JSON)
    return made


@pytest.mark.parametrize("form", LINES)
@given(data=st.data())
def test_no_json_raises_anything_but_the_refusal(form: str, data: st.DataObject) -> None:
    read = reader(form).read
    for line in LINES[form]:
        try:
            raw = orjson.loads(orjson.dumps(data.draw(hurt(line)), option=orjson.OPT_NON_STR_KEYS))
        except (TypeError, ValueError):  # no JSON: an integer over 64 bits, half of a surrogate pair
            continue
        with contextlib.suppress(CodecError, ConfigError):
            recognised(raw)
        try:
            entry = read(raw)
        except CodecError:
            continue
        if entry is not None:
            ts = 0 if entry.ts is None else entry.ts
            for record in records(Call("log", 1, entry, b""), ts=ts, service="s", route="r"):
                encode(record)
