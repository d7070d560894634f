"""Any function, sync or async: its arguments by name, and its result.

SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS=… python observed.py
"""

from shadowlane import Mirror

mirror = Mirror(service="observe-example")


@mirror.observe(key=lambda asked: asked["user"], leave_out=["connection"])
def classify(user: str, ticket: str, connection: object = None) -> dict[str, str]:
    """Stands for a model of one's own."""
    return {"label": "refund" if "money" in ticket else "other"}


def main() -> None:
    print(classify("user-7", "I want my money back", connection=object()))


if __name__ == "__main__":
    main()
