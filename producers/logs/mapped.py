"""JSON lines of any form, by a mapping: where in a line each of our fields is. Pure.

A field's place is a JSON Pointer (RFC 6901), a list of pointers of which the first that is there counts, or an object:
``{value: …}`` is a constant; ``{at: POINTER or list, unit: s | ms | iso8601}`` is a time or a duration; any other
object is built of its own members (``request: {model: /llm/name, messages: /llm/prompt}``).
"""

from typing import Any

from shadowlane.errors import CodecError, ConfigError
from shadowlane.producers.logs import own
from shadowlane.producers.logs.entry import Entry, span_ms, string, time_ms
from shadowlane.producers.recorded import Served
from shadowlane.schemas.pointer import MISSING, parse, resolve

_TIMES = frozenset({"ts", "ended_at", "first_token_at"})
_DURATIONS = {"latency": "latency_ms", "ttft": "ttft_ms"}
_SERVED = frozenset(Served.model_fields) - {"latency_ms", "ttft_ms"}
FIELDS = sorted(own.KEYS | _SERVED | _TIMES | set(_DURATIONS))
_UNITS = ("s", "ms", "iso8601")

Spec = str | list[str] | dict[str, Any]


class Mapping:
    """A mapping that was checked.

    Args:
        fields: as the mapping's file has it.

    Raises:
        ConfigError: a field that is none of ours, or a place that is none; says which.
    """

    def __init__(self, fields: Any) -> None:
        if not isinstance(fields, dict) or not fields:
            raise ConfigError(f"the mapping: must be an object of our fields, of {', '.join(FIELDS)}")
        for name, spec in fields.items():
            if name not in FIELDS:
                raise ConfigError(f"the mapping: {name!r} is no field of ours; there are {', '.join(FIELDS)}")
            _check(str(name), spec)
        if "request" not in fields or not (fields.keys() & {"response", "output", "error"}):
            raise ConfigError("the mapping: needs request, and of response, output and error at least one")
        self._fields: dict[str, Spec] = fields

    def read(self, raw: Any) -> Entry:
        """One line.

        Raises:
            CodecError: says what is wrong in it.
        """
        found = {name: _find(raw, spec) for name, spec in self._fields.items()}
        line = {name: value for name, value in found.items() if value is not MISSING and value is not None}
        times = {n: time_ms(line.pop(n), n, _unit(self._fields[n])) for n in _TIMES & line.keys()}
        durations = {n: self._duration(n, line.pop(n)) for n in _DURATIONS.keys() & line.keys()}
        served = {name: line.pop(name) for name in _SERVED & line.keys()}
        if "response" not in line:
            if not served.keys() & {"output", "tool_calls", "error"}:
                raise CodecError("response: is missing")
            line["response"] = served
        if "ts" in times:
            line["ts"] = times["ts"]
        if isinstance(line.get("attributes"), dict):
            line["attributes"] = {
                name: value if isinstance(value, str) else str(value)
                for name, value in line["attributes"].items()
                if value is not None and not isinstance(value, (dict, list))
            }
        entry = own.read(line)
        reply = entry.reply
        if line["response"] is not served:
            reply.error = string(served.get("error")) or reply.error
            reply.error_message = string(served.get("error_message")) or reply.error_message
            status = served.get("status")
            reply.status = status if isinstance(status, int) else reply.status
        reply.latency_ms = durations.get("latency") or span_ms(entry.ts, times.get("ended_at"))
        if "ttft" in durations:
            reply.ttft_ms = durations["ttft"]
        elif "first_token_at" in times:
            reply.ttft_ms = span_ms(entry.ts, times["first_token_at"])
        return entry

    def _duration(self, name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e12:
            raise CodecError(f"{name}: {repr(value)[:60]} is no duration")
        return float(value) * (1000 if _unit(self._fields[name]) == "s" else 1)


def _check(place: str, spec: Any) -> None:
    if isinstance(spec, str):
        if spec and not spec.startswith("/"):
            raise ConfigError(
                f"the mapping: {place}: {spec!r} is no JSON Pointer, which begins with /; a constant is {{value: …}}"
            )
    elif isinstance(spec, list) and spec:
        for each in spec:
            if not isinstance(each, str):
                raise ConfigError(f"the mapping: {place}: a list has JSON Pointers alone")
            _check(place, each)
    elif isinstance(spec, dict) and "at" in spec:
        if spec.keys() - {"at", "unit"} or spec.get("unit", "ms") not in _UNITS:
            raise ConfigError(f"the mapping: {place}: has at, and as unit one of {', '.join(_UNITS)}")
        if isinstance(spec["at"], dict):
            raise ConfigError(f"the mapping: {place}.at: is a JSON Pointer or a list of them")
        _check(f"{place}.at", spec["at"])
    elif isinstance(spec, dict) and spec.keys() != {"value"} and spec:
        for name, each in spec.items():
            _check(f"{place}.{name}", each)
    elif not isinstance(spec, dict) or not spec:
        raise ConfigError(f"the mapping: {place}: is neither a JSON Pointer, a list of them nor an object")


def _unit(spec: Spec) -> str:
    return str(spec.get("unit", "")) if isinstance(spec, dict) else ""


def _find(raw: Any, spec: Spec) -> Any:
    """What is at a place; MISSING where there is nothing."""
    if isinstance(spec, str):
        return resolve(raw, parse(spec))
    if isinstance(spec, list):
        each = (resolve(raw, parse(pointer)) for pointer in spec)
        return next((found for found in each if found is not MISSING and found is not None), MISSING)
    if spec.keys() == {"value"}:
        return spec["value"]
    if "at" in spec:
        return _find(raw, spec["at"])
    built = {name: _find(raw, one) for name, one in spec.items()}
    return {name: value for name, value in built.items() if value is not MISSING} or MISSING
