"""Log files onto Kafka: paced, acknowledged in order, and begun again where they were interrupted."""

from shadowlane.producers.replay.pace import Pace
from shadowlane.producers.replay.run import Options, Replay, Told

__all__ = ["Options", "Pace", "Replay", "Told"]
