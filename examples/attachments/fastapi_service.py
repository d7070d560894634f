"""A FastAPI service; Starlette and every other ASGI application alike. The route is the path's template.

SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS=… uvicorn fastapi_service:app
curl -H 'content-type: application/json' -d '{"text": "I want my money back"}' http://127.0.0.1:8000/tickets/7
"""

from fastapi import FastAPI
from pydantic import BaseModel

from shadowlane import Mirror

mirror = Mirror(service="fastapi-example")
api = FastAPI()


class Ticket(BaseModel):
    """What a user wrote."""

    text: str


@api.post("/tickets/{user}")
async def classify(user: str, ticket: Ticket) -> dict[str, str]:
    """Stands for a model of one's own."""
    return {"label": "refund" if "money" in ticket.text else "other"}


app = mirror.asgi(api)
