"""A model server for the demo: OpenAI's chat completions, and three models that know the desk's tickets.

No language model runs here. Each model looks the ticket up in tickets.jsonl by its number and plays what such
a model would say, always the same for the same ticket:

desk-1       in charge. Decides every ticket as the desk's own people did.
desk-2       a good successor. Faster and cheaper, words each reply its own way, and decides the same, but for
             about one ticket in a hundred that it finds a little less pressing than desk-1 does: a matter of
             taste.
desk-2-mini  the one with a fault that passes a glance. It reads 1.249,00 € and 1 249,00 € the American way: as
             about one euro. So on some 7% of the tickets, all of them refunds of four figures and more written
             by customers on the continent, it finds nothing pressing, calls no human, and leaves the order out
             of its answer. The status is 200, the JSON is valid, the reply is friendly and in the right
             language, and $1,249.00 it gets right. No error rate will ever show it.

    python models.py --port 9100
"""

import argparse
import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

TICKETS = Path(__file__).with_name("tickets.jsonl")
ORDER = re.compile(r"\bHH-?\s?(\d{6})\b", re.IGNORECASE)
NUMBER = re.compile(r"Ticket (T-\d{4})\b")
# Thousands set off by a point or a space, beside a currency: what desk-2-mini takes for decimals.
_THOUSANDS = r"\d{1,3}(?:[. \u00a0\u202f]\d{3})+(?:,\d{2})?"
CONTINENTAL = re.compile(rf"(?:€|EUR) ?{_THOUSANDS}|{_THOUSANDS} ?(?:€|EUR|kr|zł)")

# How each model opens and ends a reply, by language: (desk-1, desk-2, desk-2-mini).
OPENINGS = {
    "en": ("Hello!", "Thank you for writing.", "Hi!"),
    "de": ("Guten Tag!", "Vielen Dank für Ihre Nachricht.", "Hallo!"),
    "fr": ("Bonjour.", "Merci de votre message.", "Bonjour !"),
    "es": ("¡Buenos días!", "Gracias por escribirnos.", "¡Hola!"),
    "it": ("Buongiorno!", "Grazie di averci scritto.", "Salve!"),
    "nl": ("Goedendag!", "Dank voor uw bericht.", "Hallo!"),
    "pl": ("Dzień dobry!", "Dziękujemy za wiadomość.", "Witamy!"),
    "pt": ("Bom dia!", "Obrigado pela sua mensagem.", "Olá!"),
    "sv": ("Hej!", "Tack för ditt meddelande.", "Hejsan!"),
}
CLOSINGS = {
    "en": ("Kind regards, Holm & Hedge", "All the best from your Holm & Hedge team", "Holm & Hedge"),
    "de": ("Freundliche Grüße, Holm & Hedge", "Herzlich, Ihr Team von Holm & Hedge", "Holm & Hedge"),
    "fr": ("Cordialement, Holm & Hedge", "Bien à vous, l'équipe de Holm & Hedge", "Holm & Hedge"),
    "es": ("Un saludo, Holm & Hedge", "Atentamente, su equipo de Holm & Hedge", "Holm & Hedge"),
    "it": ("Cordiali saluti, Holm & Hedge", "A presto dal team di Holm & Hedge", "Holm & Hedge"),
    "nl": ("Met vriendelijke groet, Holm & Hedge", "Hartelijke groet van team Holm & Hedge", "Holm & Hedge"),
    "pl": ("Z poważaniem, Holm & Hedge", "Serdecznie, zespół Holm & Hedge", "Holm & Hedge"),
    "pt": ("Cumprimentos, Holm & Hedge", "Até breve, a equipa Holm & Hedge", "Holm & Hedge"),
    "sv": ("Vänliga hälsningar, Holm & Hedge", "Varma hälsningar från oss på Holm & Hedge", "Holm & Hedge"),
}


@dataclass(frozen=True)
class Model:
    """``voice`` is its place in the tables above; it answers in about ``seconds``."""

    name: str
    voice: int
    seconds: float
    has_taste: bool = False
    misreads_amounts: bool = False


MODELS = {
    model.name: model
    for model in (
        Model("desk-1", voice=0, seconds=0.090),
        Model("desk-2", voice=1, seconds=0.070, has_taste=True),
        Model("desk-2-mini", voice=2, seconds=0.040, misreads_amounts=True),
    )
}


def load_tickets() -> dict[str, dict[str, Any]]:
    """The tickets with the desk's right answers, by number."""
    lines = TICKETS.read_text(encoding="utf-8").splitlines()
    return {ticket["id"]: ticket for ticket in map(json.loads, lines)}


def decide(model: Model, question: str, tickets: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The model's triage of what the desk asks: the last message's text."""
    number = NUMBER.search(question)
    ticket = tickets.get(number[1]) if number else None
    if ticket is None:
        return _a_stranger(model, question)
    answer = dict(ticket["answer"])
    if model.has_taste and answer["priority"] == "normal" and crc32(ticket["id"].encode()) % 64 == 0:
        answer["priority"] = "low"
    if model.misreads_amounts and CONTINENTAL.search(question):
        answer |= {"priority": "low", "needs_human": False, "order_id": None}
    answer["reply"] = _worded(model, ticket["language"], answer["reply"])
    return answer


def _a_stranger(model: Model, question: str) -> dict[str, Any]:
    """For a ticket that is not in the file, as when somebody tries the service by hand."""
    order = ORDER.search(question)
    return {
        "category": "question",
        "priority": "normal",
        "needs_human": True,
        "order_id": f"HH-{order[1]}" if order else None,
        "reply": _worded(model, "en", "A colleague is reading your ticket and will answer today."),
    }


def _worded(model: Model, language: str, what: str) -> str:
    return f"{OPENINGS[language][model.voice]} {what} {CLOSINGS[language][model.voice]}"


def seconds_for(model: Model, question: str) -> float:
    """How long the model takes: half as long to twice as long as usual, the same for the same ticket."""
    return model.seconds * 2 ** (crc32(question.encode()) % 1000 / 500 - 1)


def tokens(text: str) -> int:
    """About as many as a tokenizer would count."""
    return max(1, len(text) // 4)


async def completions(request: Request) -> Response:
    """POST /v1/chat/completions, whole or as a stream."""
    try:
        body = json.loads(await request.body())
        messages = [str(message["content"]) for message in body["messages"]]
        question = messages[-1]
    except (ValueError, LookupError, TypeError):
        return _error(400, "the body must be JSON with messages", "invalid_request_error")
    model = MODELS.get(str(body.get("model")))
    if model is None:
        return _error(
            404, f"no model {body.get('model')!r}; there are {', '.join(MODELS)}", "model_not_found"
        )
    text = json.dumps(decide(model, question, request.app.state.tickets), ensure_ascii=False)
    usage = {"prompt_tokens": sum(map(tokens, messages)), "completion_tokens": tokens(text)}
    usage["total_tokens"] = sum(usage.values())
    head = {
        "id": f"chatcmpl-{crc32(f'{model.name}{question}'.encode()):08x}",
        "created": int(time.time()),
        "model": model.name,
    }
    seconds = seconds_for(model, question)
    if body.get("stream"):
        with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        pieces = _stream(head, text, usage if with_usage else None, seconds)
        return StreamingResponse(pieces, media_type="text/event-stream")
    await asyncio.sleep(seconds)
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": usage})


async def _stream(
    head: dict[str, Any], text: str, usage: dict[str, int] | None, seconds: float
) -> AsyncIterator[str]:
    words = re.findall(r"\S+\s*", text)
    for place, word in enumerate(words):
        await asyncio.sleep(seconds / len(words))
        delta = {"content": word} if place else {"role": "assistant", "content": word}
        yield _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    yield _event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if usage is not None:
        yield _event({**head, "choices": [], "usage": usage})
    yield "data: [DONE]\n\n"


def _event(chunk: dict[str, Any]) -> str:
    return f"data: {json.dumps({'object': 'chat.completion.chunk', **chunk}, ensure_ascii=False)}\n\n"


def _error(status: int, message: str, code: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": code, "code": code}}, status_code=status)


async def models(request: Request) -> Response:
    """GET /v1/models: also how one sees that the server is up."""
    return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]})


def make_app() -> Starlette:
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", completions, methods=["POST"]),
            Route("/v1/models", models),
        ]
    )
    app.state.tickets = load_tickets()
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description="The demo's three models.")
    parser.add_argument("--port", type=int, default=9100)
    arguments = parser.parse_args()
    uvicorn.run(make_app(), host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
