"""Logs of calls to models, each format in a file of its own: from a line's JSON to an :class:`Entry`. Pure."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from shadowlane.errors import CodecError, ConfigError
from shadowlane.producers.logs import batch, calls, langfuse, litellm, own
from shadowlane.producers.logs.entry import Entry, Reply
from shadowlane.producers.logs.mapped import Mapping

__all__ = ["FORMATS", "MAPPED", "Entry", "Format", "Mapping", "Reader", "Reply", "recognised"]

Read = Callable[[Any], Entry | None]
"""One line's JSON; None where there is no call in it, or not all of one yet. Raises CodecError."""


class Reader(NamedTuple):
    """Reads the lines of one replay, in their order. ``rest``: reasons for what the lines left incomplete."""

    read: Read
    rest: Callable[[], list[str]] = list


class Format(NamedTuple):
    """``fits`` says whether a line looks like this format's, ``reader`` makes what reads the lines."""

    fits: Callable[[dict[str, Any]], bool]
    reader: Callable[[], Reader]


def _batch(openai: bool) -> Reader:
    joined = batch.Joined(openai=openai)
    return Reader(joined.read, joined.rest)


FORMATS: dict[str, Format] = {
    "shadowlane": Format(own.fits, lambda: Reader(own.read)),
    "openai": Format(
        partial(calls.fits, protocols=calls.OPENAI),
        lambda: Reader(partial(calls.read, protocols=calls.OPENAI)),
    ),
    "anthropic": Format(
        partial(calls.fits, protocols=calls.ANTHROPIC),
        lambda: Reader(partial(calls.read, protocols=calls.ANTHROPIC)),
    ),
    "openai-batch": Format(batch.fits_openai, lambda: _batch(True)),
    "anthropic-batch": Format(batch.fits_anthropic, lambda: _batch(False)),
    "litellm": Format(litellm.fits, lambda: Reader(litellm.read)),
    "langfuse": Format(langfuse.fits, lambda: Reader(langfuse.read)),
}
"""By the name that ``--format`` takes."""

MAPPED = "mapping"
"""The format that a mapping describes: only when asked for."""


def recognised(raw: Any) -> str:
    """The format that a line is of.

    Raises:
        CodecError: it is of none.
        ConfigError: it may be of several; names them.
    """
    fit = [name for name, form in FORMATS.items() if isinstance(raw, dict) and form.fits(raw)]
    if "shadowlane" in fit and _plain(raw):
        return "shadowlane"  # the bodies themselves, which it reads as the others do
    if not fit and isinstance(raw, dict) and {"request", "response"} & raw.keys():
        return "shadowlane"  # which says what is wrong in the line
    if not fit:
        raise CodecError(
            f"is of no format that is known by its look: {', '.join(FORMATS)}; or give --mapping"
        )
    if len(fit) > 1:
        raise ConfigError(f"the line may be of several formats: say which with --format ({', '.join(fit)})")
    return fit[0]


def _plain(raw: dict[str, Any]) -> bool:
    return not any(isinstance(raw[side], dict) and "body" in raw[side] for side in ("request", "response"))
