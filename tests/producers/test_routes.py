"""Routes as they may stand in the ledger."""

from shadowlane.producers.ledger import OTHER_ROUTES
from shadowlane.producers.outflow import UNREDACTABLE
from shadowlane.producers.routes import Routes


def test_a_route_that_could_not_be_redacted_is_asked_for_again() -> None:
    given: list[str] = []
    failures: list[bool] = []

    def redact(route: str) -> str:
        given.append(route)
        if len(given) == 1:
            raise TimeoutError
        return route.upper()

    routes = Routes(redact, safe=False, failed=lambda: failures.append(True))
    assert routes.redacted("/chat") == UNREDACTABLE
    assert routes.at_once("/chat") == OTHER_ROUTES
    routes.learn()
    assert (routes.at_once("/chat"), routes.redacted("/chat")) == ("/CHAT", "/CHAT")
    assert (given, len(failures)) == (["/chat", "/chat"], 1)
