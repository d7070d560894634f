"""The shadow worker: mirrored requests in, the candidates' responses out. ``run`` is the component."""

from shadowlane.processors.worker.service import run

__all__ = ["run"]
