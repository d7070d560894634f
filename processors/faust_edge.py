"""What pairing needs of Faust beyond its agents: its options, backpressure by topic, a check of assignments.

Every reach into Faust's inside is here, with why. Faust 0.15.
"""

import asyncio
import logging
import types
from collections.abc import Coroutine, Generator
from typing import Any

import faust.streams
from faust.types import TP

from shadowlane.errors import BrokerError, ConfigError
from shadowlane.processors.pairing.envelopes import Source
from shadowlane.schemas.config import Settings
from shadowlane.schemas.events import Role

log = logging.getLogger("shadowlane.pairing")


def faust_options(settings: Settings, directory: str) -> dict[str, Any]:
    """What the app is made with. ``directory`` is a place for Faust's own files, of which it writes none."""
    kafka, wait_s = settings.kafka, settings.pairing.wait_s
    refuse_security(kafka.client)
    servers = [server.strip() for server in kafka.bootstrap_servers.split(",")]
    return {
        "id": f"{kafka.topic_prefix}-pairing",
        "broker": [f"kafka://{server}" for server in servers],
        "broker_client_id": "shadowlane-pairing",
        "broker_session_timeout": kafka.session_timeout_s,
        "broker_heartbeat_interval": kafka.session_timeout_s / 4,
        "broker_commit_interval": 1.0,
        "consumer_auto_offset_reset": "earliest",
        # Reading may pause for as long as halves wait; a member that does not poll would be expelled.
        "broker_max_poll_interval": max(1000.0, 2 * wait_s),
        # They only warn, and a half that waits holds back its partition's commits on purpose.
        "broker_commit_livelock_soft_timeout": wait_s + 300.0,
        "stream_processing_timeout": wait_s + 300.0,
        # Messages between Kafka and the agents: the bound on what still comes after reading has paused.
        "stream_buffer_maxsize": 64,
        "broker_max_poll_records": 64,
        # Of one partition, in one answer. Faust reads an answer to its end before it turns to the next partition,
        # so what there is of one side all waits for the other one. Kafka gives a larger message nevertheless.
        "consumer_max_fetch_size": 256 * 1024,
        "stream_wait_empty": False,  # or a rebalance and a stop would wait for halves that wait
        "web_enabled": False,  # it would listen on 0.0.0.0
        "topic_disable_leader": True,
        "topic_allow_declare": False,  # ensure_topics has made them
        "autodiscover": False,
        "store": "memory://",
        "datadir": directory,
        "worker_redirect_stdouts": False,
    }


def refuse_security(client: dict[str, Any]) -> None:
    """Raises ConfigError for options of librdkafka that Faust's consumer would silently go without."""
    wanted = [key for key in client if key.startswith(("security.", "sasl.", "ssl."))]
    if wanted and client.get("security.protocol", "plaintext") != "plaintext":
        raise ConfigError(
            f"kafka.client.{wanted[0]}: pairing reads with Faust, which does not take librdkafka's security "
            "options; give it a plaintext listener"
        )


def check_compiled() -> None:
    """Warns where Faust runs without its compiled stream loop.

    The one in Python acknowledges an envelope that it skips because a rebalance began meanwhile, though it is
    read again: a kill before it is resolved again would lose it. The compiled one does not.
    """
    if getattr(faust.streams, "_CStreamIterator", None) is None:
        log.warning(
            "Faust runs without its compiled parts: a kill right after a rebalance may lose an envelope. "
            "Install faust-streaming from a wheel, and unset NO_CYTHON"
        )


def fetch_promptly(app: Any) -> None:
    """Has the consumer's fetches wait 20 ms for data instead of 1.5 s, which Faust gives no option for.

    Apache Kafka answers as soon as it has something, whatever the wait. The embedded broker takes a quarter
    of it: the median time from the later half to its pair was 430 ms.
    """
    thread = app.consumer._thread
    create = thread._create_worker_consumer

    def create_prompt(transport: Any) -> Any:
        consumer = create(transport)
        consumer._fetch_max_wait_ms = 20
        return consumer

    thread._create_worker_consumer = create_prompt


def hand_on_at_once(app: Any) -> None:
    """Has the consumer hand a message to its agent without four tasks around it, which are 75 µs of CPU.

    Faust has what hands it on wait for room in a task, and races that with tasks that wait for a rebalance, a stop
    and a crash. Nearly always there is room, and it is done at its first step: so that step is taken first, and the
    race is for what then has to wait. (Python 3.12 would call it an eager task.)
    """
    consumer = app.consumer
    race = consumer.wait_first

    async def wait_first(*waited_for: Any, **options: Any) -> Any:
        if len(waited_for) != 2:  # nothing of handing on
            return await race(*waited_for, **options)
        handing, suspended = waited_for
        try:
            waits_for = handing.send(None)
        except BaseException as exc:
            suspended.close()
            if not isinstance(exc, StopIteration):
                raise
            await asyncio.sleep(0)  # the agent's turn
            return None
        return await race(_rest(handing, waits_for), suspended, **options)

    consumer.wait_first = wait_first


async def _rest(begun: Coroutine[Any, Any, None], waits_for: Any) -> None:
    """What is left of a coroutine that has begun, and waits for the first time."""
    await _resumed(begun, waits_for)


@types.coroutine
def _resumed(begun: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    try:
        yield waits_for
    except BaseException:  # cancelled
        begun.close()
        raise
    yield from begun  # an await would refuse one that waits already


class Backpressure:
    """Pauses the reading of single partitions.

    An agent that stops taking events would stop the other side too: Faust hands out messages in one loop
    that waits for the slower agent, and the halves that would make room could never come. Nor does
    ``consumer.pause_partitions`` do: what is fetched already is dropped then, and counts as acknowledged once
    a later offset is. What Faust itself calls when a buffer is full stops the fetching and still hands out
    what is there.
    """

    def __init__(self, app: Any, topics: dict[Role, str]) -> None:
        self.topics = topics
        self._app = app
        self.paused: set[Source] = set()

    def pause(self, source: Source) -> None:
        """To be repeated while it lasts: Faust resumes a partition by itself when its own buffer empties."""
        self.paused.add(source)
        self._app.consumer.on_buffer_full(self._tp(source))

    def resume(self, source: Source) -> None:
        self.paused.discard(source)
        self._app.consumer.on_buffer_drop(self._tp(source))

    def resume_all(self) -> None:
        """As partitions are taken away: Faust would keep them as paused, and read them when they are another's."""
        for source in list(self.paused):
            self.resume(source)

    def _tp(self, source: Source) -> TP:
        return TP(self.topics[source[0]], source[1])


def check_assignment(topics: dict[Role, str], assigned: set[TP]) -> None:
    """Raises BrokerError where a worker was given different partitions of the two topics."""
    served, shadow = (
        {tp.partition for tp in assigned if tp.topic == topics[side]} for side in (Role.SERVED, Role.SHADOW)
    )
    if served != shadow:
        raise BrokerError(
            f"Faust assigned partitions {sorted(served)} of {topics[Role.SERVED]} and {sorted(shadow)} of "
            f"{topics[Role.SHADOW]}: pairs would never meet; is another program in the same consumer group?"
        )
