"""A Django service in one file. A middleware names the route by its pattern.

SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS=… gunicorn django_service:app
curl -H 'content-type: application/json' -d '{"text": "I want my money back"}' http://127.0.0.1:8000/tickets/7
"""

import json

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.utils.deprecation import MiddlewareMixin

from shadowlane import Mirror

mirror = Mirror(service="django-example")


class NameTheRoute(MiddlewareMixin):
    """For the mirror: ``/tickets/<user>`` in place of each user's path."""

    def process_view(self, request: HttpRequest, *_: object) -> None:
        request.META["shadowlane.route"] = f"/{request.resolver_match.route}"


def classify(request: HttpRequest, user: str) -> JsonResponse:
    """Stands for a model of one's own."""
    return JsonResponse({"label": "refund" if "money" in json.loads(request.body)["text"] else "other"})


urlpatterns = [path("tickets/<user>", classify)]
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, MIDDLEWARE=[f"{__name__}.NameTheRoute"])
app = mirror.wsgi(get_wsgi_application())
