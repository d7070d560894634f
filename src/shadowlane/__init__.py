"""shadowlane: shadow a candidate model on production traffic, and decide on evidence."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shadowlane.producers import Mirror
    from shadowlane.rollout.router import Router

__all__ = ["Mirror", "Router"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # On first use, so that a notebook that only reads the store does not load a Kafka client.
    if name == "Mirror":
        from shadowlane.producers import Mirror

        return Mirror
    if name == "Router":
        from shadowlane.rollout.router import Router

        return Router
    raise AttributeError(f"module 'shadowlane' has no attribute {name!r}")
