"""Kafka in the foreground: what `shadowlane embedded kafka` runs."""

import signal
import sys
import time
from pathlib import Path
from types import FrameType

from shadowlane.embedded.kafka.cluster import Cluster
from shadowlane.embedded.kafka.jars import VERSION
from shadowlane.errors import BrokerError

# How often it looks whether a node has ended by itself, in seconds.
_LOOK = 0.5


def serve(data: Path, nodes: int, port: int) -> None:
    """Run a cluster until SIGTERM or SIGINT. Call it in the main thread.

    Prints one line once all nodes take part, with the address and the process ids. A node that ends by
    itself is said on stderr, and the others go on.

    Raises BrokerError if it can't start, or once no node is left.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    cluster = Cluster(data, nodes, port)
    try:
        cluster.start()
        started = cluster.pids
        pids = ", ".join(str(pid) for pid in started.values())
        print(f"kafka: ready at {cluster.bootstrap_servers}, Apache Kafka {VERSION}, pids {pids}", flush=True)
        _watch(cluster, set(started))
    except KeyboardInterrupt:
        pass
    finally:
        cluster.stop()


def _watch(cluster: Cluster, running: set[int]) -> None:
    """``running`` as it was told: one that has ended since is not to be missed."""
    while True:
        time.sleep(_LOOK)
        for ended in running - set(cluster.pids):
            code, said = cluster.exit_code(ended), cluster.last_words(ended)
            running.discard(ended)
            if not running:
                raise BrokerError(f"Kafka's node {ended} ended (exit code {code}): {said}")
            print(f"kafka: node {ended} ended (exit code {code}), {len(running)} left", file=sys.stderr)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """The first signal ends the start or the watch, wherever it is; a second one must not break off the stop."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
