"""What the answer of a service with a form of its own says, by pointers into its JSON. Pure."""

from collections.abc import Callable
from typing import Any

import orjson

from shadowlane.schemas.answers.answer import Answer, as_object, count, fail, json_text, string
from shadowlane.schemas.config.kinds import HttpAnswer
from shadowlane.schemas.pointer import MISSING, as_text, parse, resolve

SHOWN = 200  # characters of an error that is no text


def reader(form: HttpAnswer) -> Callable[[bytes], Answer]:
    """Reads answers of that form. What it gives never raises: ``problem`` says what is wrong, ``failed`` what the
    service told of itself."""
    output, calls = parse(form.output), form.tool_calls
    at = parse(calls.at) if calls else ()
    name, arguments = (parse(calls.name), parse(calls.arguments)) if calls else ((), ())
    reason, model, error, inputs, outputs = (
        None if pointer is None else parse(pointer)
        for pointer in (form.finish_reason, form.model, form.error, form.input_tokens, form.output_tokens)
    )

    def read(body: bytes) -> Answer:
        found = Answer()
        try:
            raw = orjson.loads(body)
        except ValueError:
            found.problem = "the answer is no JSON"
            return found
        if error is not None and (told := _at(raw, error)):
            fail(found, told if isinstance(told, str) or as_object(told).get("message") else _shown(told))
            return found
        for call in _listed(_at(raw, at)) if calls else ():
            given = _at(call, arguments)
            found.tool_calls.append({"name": string(_at(call, name)), "arguments": json_text(given)})
        text = resolve(raw, output)
        found.output = "" if text is MISSING else as_text(text)
        said = string(_at(raw, reason))
        found.finish_reason = form.finish_reasons.get(said, said)
        found.model = string(_at(raw, model))
        found.input_tokens, found.output_tokens = count(_at(raw, inputs)), count(_at(raw, outputs))
        if text is MISSING and not found.tool_calls:
            found.problem = f"the answer has nothing at {form.output}"
        elif not all(call["name"] for call in found.tool_calls):
            found.problem = "a tool call without a name"
        found.complete = not found.problem
        return found

    return read


def _at(document: Any, tokens: tuple[str, ...] | None) -> Any:
    """What stands there; None where nothing does, or nowhere is said."""
    found = MISSING if tokens is None else resolve(document, tokens)
    return None if found is MISSING else found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _shown(value: Any) -> str:
    return orjson.dumps(value).decode()[:SHOWN]
