"""A Flask service. One line names the route by its rule.

SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS=… gunicorn flask_service:app
curl -H 'content-type: application/json' -d '{"text": "I want my money back"}' http://127.0.0.1:8000/tickets/7
"""

from flask import Flask, request

from shadowlane import Mirror

mirror = Mirror(service="flask-example")
desk = Flask(__name__)


@desk.before_request
def name_the_route() -> None:
    request.environ["shadowlane.route"] = str(request.url_rule or "")


@desk.post("/tickets/<user>")
def classify(user: str) -> dict[str, str]:
    """Stands for a model of one's own."""
    return {"label": "refund" if "money" in request.get_json()["text"] else "other"}


app = mirror.wsgi(desk)
