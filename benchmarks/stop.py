"""From a stop to the end of the last call, as the candidate sees its connections.

Four workers have eight calls each in flight, which the candidate holds. Then they are stopped, in turns: by the
command's own line in Kafka, from its acknowledgement on; by the whole command, `shadowlane calls stop`, from the start
of its process on; by the file, from its writing on. Between two rounds calls go on, and the candidate has 32 again.

    python -m benchmarks.stop
"""

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.brokers import EMBEDDED, broker, names
from benchmarks.system import SHADOWLANE
from shadowlane.processors.budget.log import write_stop
from shadowlane.schemas.events import Stop
from tests.processors.worker.fake_candidate import FakeCandidate
from tests.processors.worker.scene import Scene, request
from tests.services import KafkaAddress

ROUNDS = 5
WORKERS, EACH = 4, 8
HELD = WORKERS * EACH


def run() -> dict[str, Any]:
    """Seconds by broker and way: each round's; prints a table."""
    return {name: _measured(name) for name in names()}


def _measured(name: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        broker(name) as bootstrap,
        FakeCandidate().running() as candidate,
    ):
        file = Path(folder) / "stop"
        address = KafkaAddress(bootstrap, "embedded" if name == EMBEDDED else "local")
        scene = Scene(
            Path(folder),
            address,
            f"stop-{uuid4().hex[:8]}",
            candidate.base_url,
            partitions=WORKERS,
            worker={"concurrency": EACH, "stop_file": str(file)},
            monitoring={"worker_port": 0},
        )
        with closing(scene):
            for _ in range(WORKERS):
                scene.start()
            ways: dict[str, Callable[[], float]] = {
                "line": lambda: _line(scene, stopped=True),
                "command": lambda: _command(scene),
                "file": lambda: _written(file),
            }
            for number in range(ROUNDS):
                for way, stop in ways.items():
                    _hold(scene, candidate, f"{number}-{way}")
                    began = stop()
                    candidate.wait_until_idle()
                    found.setdefault(way, []).append(candidate.ended_at - began)
                    _line(scene, stopped=False)
                    file.unlink(missing_ok=True)
    print(f"on {name}: seconds to the last call's end, of {HELD} held by {WORKERS} workers, {ROUNDS} rounds")
    for way, seconds in found.items():
        print(f"  {way:<8} median {statistics.median(seconds):.2f}, longest {max(seconds):.2f}")
    return found


def _hold(scene: Scene, candidate: FakeCandidate, name: str) -> None:
    """Until the candidate holds as many calls as all workers may make: what comes before they go on is not asked."""
    number = 0
    while candidate.in_flight < HELD:
        scene.write(*(request(f"{name}-{number + n}", "held") for n in range(HELD)))
        number += HELD
        time.sleep(0.5)


def _line(scene: Scene, *, stopped: bool) -> float:
    now = int(time.time() * 1000)
    write_stop(scene.kafka, Stop(ts=now, rollout="", stopped=stopped, by="bench", why="timed"), 30)
    return time.monotonic()


def _command(scene: Scene) -> float:
    began = time.monotonic()
    subprocess.run(
        [*SHADOWLANE, "calls", "stop", "--config", str(scene.file)], check=True, stdout=subprocess.DEVNULL
    )
    return began


def _written(file: Path) -> float:
    file.touch()
    return time.monotonic()


if __name__ == "__main__":
    run()
