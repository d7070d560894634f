"""The router for Python services: which version serves a request, sticky by key, without asking anybody."""

import atexit
import json
import os
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from shadowlane.errors import ConfigError
from shadowlane.producers.context import said, saying
from shadowlane.producers.following import Follower
from shadowlane.producers.log import Log
from shadowlane.rollout.known import Known
from shadowlane.rollout.routing import Choice, Reason, unknown
from shadowlane.schemas.events import RolloutState
from shadowlane.schemas.topics import Topics

EXIT_TIMEOUT_S = 0.5
VARIABLES = {
    "kafka": "SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS",
    "topic_prefix": "SHADOWLANE_KAFKA__TOPIC_PREFIX",
    "client": "SHADOWLANE_KAFKA__CLIENT",
}


class Router:
    """Says who serves a request. Make one per process, at import; it forks well.

    A daemon thread, which starts with the first call, follows the controller's decisions in Kafka. While Kafka is
    away the last known state holds; where none was ever known, the stable version serves. Every setting may be left
    to its environment variable (``VARIABLES``).

    Args:
        kafka: Kafka's addresses, ``host:port,host:port``.
        topic_prefix: the topic is ``<prefix>.rollouts``.
        client: more options for librdkafka, such as ``security.protocol``.

    Raises:
        ConfigError: an argument is of the wrong type. Whatever else goes wrong, here and later, is logged, counted
            (:meth:`stats`), and never raised into the service.
    """

    def __init__(
        self,
        kafka: str | None = None,
        *,
        topic_prefix: str | None = None,
        client: Mapping[str, Any] | None = None,
    ) -> None:
        self._log = Log(name="shadowlane.router")
        arguments = {"kafka": kafka, "topic_prefix": topic_prefix, "client": client}
        settings = {name: self._setting(name, given) for name, given in arguments.items()}
        self._kafka: str = settings["kafka"] or ""
        self._topic = Topics(settings["topic_prefix"] or Topics().prefix).rollouts
        self._client: Mapping[str, Any] = settings["client"] or {}
        self._known = Known()
        self._routes = self._known.routes
        self._begin()
        if not self._kafka:
            self._log.problem(
                "no_kafka",
                "no Kafka address: the stable version serves; set SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS",
            )
        _ROUTERS.add(self)

    def choose(self, rollout: str, key: object = None, attributes: Mapping[Any, Any] | None = None) -> Choice:
        """Who serves a request. Waits for nothing, raises nothing.

        Args:
            rollout: its name.
            key: what the choice sticks to: a session, a user. Without one the stable version serves until the
                candidate has all traffic.
            attributes: as the mirror has them; a slice that was taken out of the rollout is known by them.
        """
        try:
            if not self._started:
                self._start()
            route = self._routes.get(rollout)
            if route is None:
                return unknown(rollout)
            return route.choose("" if key is None else str(key), attributes)
        except Exception as exc:
            self._log.problem("internal", f"choosing for {rollout!r}: {type(exc).__name__}: {exc}")
            return unknown(str(rollout))

    @contextmanager
    def serving(
        self, rollout: str, key: object = None, *, attributes: Mapping[Any, Any] | None = None
    ) -> Iterator[Choice]:
        """Who serves the requests within the ``with`` block; what is mirrored there says so.

        It says ``key`` and ``attributes`` to the mirror as ``Mirror.context`` does, and takes what is said there
        already into account. While nothing is known of the rollout, nothing is said of the arm.
        """
        outer = said()
        key = outer.key if key is None else str(key)
        everything = {"route": outer.route, **outer.attributes, **(attributes or {})}
        choice = self.choose(rollout, key, everything)
        arm, stage = ("", "") if choice.reason == Reason.UNKNOWN else (choice.arm.value, choice.stage)
        with saying(key=key, attributes=attributes, arm=arm, stage=stage):
            yield choice

    def wait_ready(self, timeout: float = 10.0) -> bool:
        """Waits until all that the topic held is known. False: it was not within ``timeout`` seconds.

        For a service's start: before, the stable version serves.
        """
        if not self._started:
            self._start()
        follower = self._follower
        return follower is not None and follower.ready.wait(timeout)

    def rollouts(self) -> set[str]:
        """The names of the rollouts that are known."""
        return set(self._routes.copy())

    def stats(self) -> dict[str, Any]:
        """``states`` by rollout (epoch, seq, phase, stage, traffic_pct), ``contact_age_s`` since Kafka answered
        last (None: never), ``ready``; how many records were ``taken``, ``repeated``, ``older`` or ``bad``;
        ``problems`` by kind, and ``last_problem``."""
        follower = self._follower
        contact = follower.contact if follower is not None else None
        counts = self._known.counts
        return {
            "states": {name: _summary(route.state) for name, route in self._routes.copy().items()},
            "ready": follower is not None and follower.ready.is_set(),
            "contact_age_s": None if contact is None else round(time.monotonic() - contact, 3),
            **{name: counts[name] for name in ("taken", "repeated", "older", "bad")},
            "problems": dict(self._log.counts),
            "last_problem": self._log.last,
        }

    def close(self, timeout: float = 2.0) -> None:
        """Reads no more; what is known goes on to hold. At the end of the process this happens by itself."""
        with self._lock:
            self._started = True
            follower = self._follower
        if follower is not None:
            follower.stop(timeout)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._started = not self._kafka
        self._follower: Follower | None = None

    def _start(self) -> None:
        with self._lock:
            if self._started:
                return
            self._started = True  # also where it fails: a process that can start no thread is at its end
            follower = Follower(self._kafka, self._topic, self._client, self._known, self._log)
            follower.start()
            self._follower = follower
            _at_exit(self)

    def _after_fork(self) -> None:
        """In the child: what is known is known here too; the thread and its client are the parent's."""
        if self._follower is not None:
            _PARENTS.append(self._follower)  # kept: ending a Kafka client whose threads are not here hangs
        self._begin()

    def _setting(self, name: str, given: Any) -> Any:
        """The argument, else the environment's; None where that is wrong, which is told and not raised."""
        if given is not None:
            return _checked(name, given, f"Router({name}=…)")
        text = os.environ.get(VARIABLES[name])
        if not text:
            return None
        try:
            return _checked(name, json.loads(text) if name == "client" else text, VARIABLES[name])
        except (ConfigError, ValueError) as exc:
            self._log.problem("misconfigured", f"{VARIABLES[name]}: {exc}")
            return None


def _checked(name: str, value: Any, where: str) -> Any:
    if name == "client":
        good, wanted = isinstance(value, Mapping), "an object of librdkafka options by name"
    else:
        good, wanted = isinstance(value, str) and value != "", "a text that is not empty"
    if not good:
        raise ConfigError(f"{where} is {value!r}: it must be {wanted}")
    return value


def _summary(state: RolloutState) -> dict[str, Any]:
    return {name: getattr(state, name) for name in ("epoch", "seq", "phase", "stage", "traffic_pct")}


def _at_exit(router: Router) -> None:
    alive = weakref.ref(router)

    def at_exit() -> None:
        found = alive()
        if found is not None:
            found.close(EXIT_TIMEOUT_S)

    atexit.register(at_exit)


_ROUTERS: "weakref.WeakSet[Router]" = weakref.WeakSet()
_PARENTS: list[Follower] = []


def _after_fork_in_child() -> None:
    for router in list(_ROUTERS):
        router._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
