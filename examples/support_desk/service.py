"""The example service: the support desk of Holm & Hedge, a shop for house and garden.

A ticket comes in, a model triages it, its answer goes back as JSON. That is all there is to the service; the
six lines that attach it to shadowlane are marked. The mirror (1 to 3) puts each request to the model onto Kafka with
the answer that it got, and the other version is asked beside it. The router (1, 4, 5) says which version answers a
customer: always the same one, until the rollout goes on. The desk waits for neither; while Kafka is away it answers
as before. As the desk closes, what the mirror still holds is sent (6).

    OPENAI_BASE_URL=… OPENAI_API_KEY=… python service.py --port 8000
    curl -d '{"id": "T-0001", "language": "en", "channel": "chat", "customer": "C-1", "text": "…"}' \
        http://127.0.0.1:8000/triage
"""

import argparse
import json
import os

import uvicorn
from openai import APIError, AsyncOpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shadowlane import Mirror, Router  # 1

PROMPT_ID = "triage-v3"
PROMPT = """You triage the tickets of Holm & Hedge, a shop for house and garden. Answer with one JSON object:
{"category": "refund" | "delivery" | "defect" | "account" | "invoice" | "fraud" | "praise" | "question",
 "priority": "urgent" | "high" | "normal" | "low",
 "needs_human": true | false,
 "order_id": "HH-" and six digits, or null where the ticket names no order,
 "reply": two or three sentences to the customer, in the customer's language}

Priority: urgent where somebody may come to harm, or a stranger uses an account or card. high where 250 or more
(in the ticket's own currency) is to be paid back, where an order is very late, or where the law is mentioned.
low for praise and for questions before an order. normal for the rest. A human is needed for urgent and high."""

MODEL = os.environ.get("DESK_MODEL", "desk-1")
mirror = Mirror(service=os.environ.get("DESK_SERVICE", "support-desk"))  # 2
client = mirror.wrap(AsyncOpenAI())  # 3
router = Router()  # 4
ROLLOUT = os.environ.get("DESK_ROLLOUT", "desk-2")


async def triage(request: Request) -> Response:
    """One ticket in, the model's triage out. 400 where it is no ticket, 502 where the model gives none."""
    try:
        ticket = json.loads(await request.body())
        question = f"Ticket {ticket['id']}, {ticket['channel']}, {ticket['language']}:\n\n{ticket['text']}"
        who = str(ticket["customer"])
    except (ValueError, TypeError, KeyError) as exc:
        return JSONResponse({"error": f"not a ticket: {exc!r}"}, status_code=400)
    slices = {"language": ticket["language"], "channel": ticket["channel"], "prompt_id": PROMPT_ID}
    parameters = {
        "model": MODEL,
        "messages": [{"role": "system", "content": PROMPT}, {"role": "user", "content": question}],
        "response_format": {"type": "json_object"},
        "temperature": 0,
    }
    try:
        with router.serving(ROLLOUT, who, attributes=slices) as choice:  # 5
            completion = await client.chat.completions.create(**choice.applied_to(parameters))
        answer = json.loads(completion.choices[0].message.content or "")
    except (APIError, ValueError) as exc:
        return JSONResponse({"error": f"the model gave no triage: {exc}"}, status_code=502)
    # For whoever wants to know which model it was: here the demo's customers, who count.
    return JSONResponse(answer, headers={"x-model": completion.model, "x-stage": choice.stage})


async def health(request: Request) -> Response:
    """Up, what the mirror has seen so far, and what the router knows."""
    return JSONResponse({"up": True, "mirror": mirror.stats(), "router": router.stats()})


desk = Starlette(routes=[Route("/triage", triage, methods=["POST"]), Route("/health", health)])
app = mirror.asgi(desk, routes=())  # 6


def main() -> None:
    parser = argparse.ArgumentParser(description="The support desk.")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    router.wait_ready(5)  # so that a restart moves nobody; without Kafka the desk opens all the same
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
