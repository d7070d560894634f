"""Apache Kafka on one machine: one node or three, in processes of their own, on loopback.

::

    with Cluster(Path("data/kafka"), nodes=3) as kafka:
        kafka.bootstrap_servers   # "127.0.0.1:9092,127.0.0.1:9093,127.0.0.1:9094"
        kafka.kill_node(2)
        kafka.start_node(2)

The broker comes from Maven Central once, in pinned versions with pinned checksums. See docs/kafka.md.
"""

from shadowlane.embedded.kafka.cluster import Cluster
from shadowlane.embedded.kafka.jars import VERSION
from shadowlane.embedded.kafka.settings import DEFAULT_PORT

__all__ = ["DEFAULT_PORT", "VERSION", "Cluster"]
