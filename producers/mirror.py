"""The mirror: attached to a service, it copies requests and their answers to Kafka, off the service's path."""

import atexit
import os
import sys
import weakref
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from threading import get_ident
from time import monotonic, perf_counter, time_ns
from typing import TYPE_CHECKING, Any, TypeVar

from shadowlane.errors import ConfigError
from shadowlane.producers.calls import Call
from shadowlane.producers.context import SHADOW, Said, said, saying
from shadowlane.producers.exchange import Exchange, Source
from shadowlane.producers.ids import new_request_id, valid_request_id
from shadowlane.producers.ledger import Drop
from shadowlane.producers.link import KafkaLink, Link
from shadowlane.producers.log import Log
from shadowlane.producers.outflow import Outflow, Samples
from shadowlane.producers.pipeline import Pipeline
from shadowlane.producers.records import ExchangeEncoder
from shadowlane.producers.routes import Routes
from shadowlane.producers.settings import resolve
from shadowlane.schemas.events import Arm
from shadowlane.schemas.sessions import SESSION
from shadowlane.schemas.topics import Topics

if TYPE_CHECKING:
    from shadowlane.producers.told import ToldCall

ARMS = tuple(arm.value for arm in Arm)
FORK_WAIT_S = 0.2  # how long a fork waits for a connection that just begins
F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C")


class Mirror:
    """Mirrors what a service asks and answers. Make one per process, at import; it forks well.

    Every setting may be left to its environment variable (``shadowlane.producers.settings``: ``VARIABLES``, and
    ``CAPTURE`` for those of what goes out).

    Args:
        service: the service's name, as it stands in every record.
        kafka: Kafka's addresses, ``host:port,host:port``.
        topic_prefix: the topics are ``<prefix>.requests`` and so on.
        sample: the fraction of the traffic that is mirrored, 0 to 1, by a hash of the key.
        per_second: at most so many requests a second, of those in the sample, in this process.
        salt: draws another sample of the same size.
        content: how what was asked and answered goes out: ``redacted``, ``full``, ``hashed``, ``metadata``
            (docs/redaction.md). Of the last two nobody can be asked: they are never shadowed.
        redact: a function bytes -> bytes that is applied before the rules, or its name as ``module:name``.
        redact_timeout: seconds for which a call of it may last; what takes longer goes out without its content.
        allow, deny: values that stay though a rule finds them, and words that go.
        allow_keys, deny_keys: names of JSON members, likewise.
        routes: what is different for some routes: ``{"/chat*": {"sample": 0.1, "content": "hashed"}}``; may name
            ``sample``, ``per_second`` and ``content``. The first pattern that takes the route holds.
        buffer_bytes: the most that is held in memory, from a request's first byte to Kafka's acknowledgement.
        max_body_bytes: a request or an answer over it is mirrored without its content.
        delivery_timeout: seconds for which Kafka may be away before what waits is dropped.
        exit_timeout: seconds that the end of the process may wait for Kafka.
        client: more options for librdkafka, such as ``security.protocol``.
        enabled: False attaches nothing.

    Raises:
        ConfigError: an argument is of the wrong type or out of range. Whatever else goes wrong, here and
            later, is logged, counted (:meth:`stats`), and never raised into the service.
    """

    def __init__(
        self,
        service: str | None = None,
        *,
        kafka: str | None = None,
        topic_prefix: str | None = None,
        sample: float | None = None,
        per_second: float | None = None,
        salt: str | None = None,
        content: str | None = None,
        redact: Callable[[bytes], bytes] | str | None = None,
        redact_timeout: float | None = None,
        allow: Collection[str] | None = None,
        deny: Collection[str] | None = None,
        allow_keys: Collection[str] | None = None,
        deny_keys: Collection[str] | None = None,
        routes: Mapping[str, Mapping[str, Any]] | None = None,
        buffer_bytes: int | None = None,
        max_body_bytes: int | None = None,
        delivery_timeout: float | None = None,
        exit_timeout: float | None = None,
        client: Mapping[str, Any] | None = None,
        enabled: bool | None = None,
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name != "self"}
        self.settings, wrong = resolve(arguments)
        self.log = Log()
        self._blocked = ""
        if wrong:
            self._blocked = Drop.MISCONFIGURED
            self.log.problem("misconfigured", f"{wrong}: nothing is mirrored")
        elif not self.settings.kafka:
            self._blocked = Drop.NO_KAFKA
            if self.settings.enabled:
                self.log.problem(
                    "no_kafka",
                    "no Kafka address: nothing is mirrored; set SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS",
                )
        self._outflow = Outflow(self.settings.capture, self.settings.token_key)
        self._routes = Routes(
            self._outflow.redactor.text, safe=self._outflow.in_path, failed=self._route_failed
        )
        self._start_empty()
        self.current_call: ContextVar[Call | None] = ContextVar("shadowlane_call", default=None)
        self.looks_for_twice: bool | None = None  # producers.twice: True once a callback told of a call
        self.told: weakref.WeakSet[ToldCall] = (
            weakref.WeakSet()
        )  # calls of which callbacks tell, not over yet
        self._exit_armed = False
        self._held: set[int] = set()  # threads that fork, and have the pipeline's lock meanwhile
        _MIRRORS.add(self)

    @property
    def enabled(self) -> bool:
        return self.settings.enabled

    def wrap(self, client: C, *, route: str | None = None) -> C:
        """Mirror what a client of ``openai`` or ``anthropic`` asks models, sync or async: chat completions,
        responses, messages; or what any SDK asks through an ``httpx`` client that it is given.

        Returns the same client, changed: what its calls return, raise and stream stays as it was. Clients
        made of it by ``with_options`` are mirrored too. Wrapping twice does nothing more.

        Args:
            client: an SDK's client, or an ``httpx`` one.
            route: by the API if None: ``chat.completions``, ``responses``, ``messages``.

        Raises:
            ConfigError: ``client`` is no such client.
        """
        from shadowlane.producers.wrap import wrap_client

        if self.enabled:
            wrap_client(self, client, route or "")
        return client

    def litellm(self, *, route: str | None = None) -> Any:
        """A callback for LiteLLM: ``litellm.callbacks.append(mirror.litellm())`` mirrors its chat completions,
        whatever provider they go to, sync or async. Its retries of a call are one request.

        Args:
            route: ``chat.completions`` if None.

        Raises:
            ConfigError: the service has no ``litellm``.
        """
        from shadowlane.producers.litellm_calls import make_callback

        return make_callback(self, route or "")

    def langchain(self, *, route: str | None = None) -> Any:
        """A callback handler for LangChain: ``model.invoke(…, config={"callbacks": [mirror.langchain()]})``
        mirrors what chat models are asked, whatever provider they go to, sync or async. The attempts of
        ``with_retry`` are one request.

        Args:
            route: ``chat.completions`` if None.

        Raises:
            ConfigError: the service has no ``langchain_core``.
        """
        from shadowlane.producers.langchain_calls import make_handler

        return make_handler(self, route or "")

    def asgi(self, app: Any, *, routes: Collection[str] | None = None) -> Any:
        """``app`` with every JSON request and its answer mirrored; or those whose path starts with one of
        ``routes``; with ``()`` none. As the application's lifespan ends, what is left is sent."""
        from shadowlane.producers.asgi import MirrorMiddleware

        return MirrorMiddleware(self, app, routes) if self.enabled else app

    def wsgi(self, app: Any, *, routes: Collection[str] | None = None) -> Any:
        """``app`` with every JSON request and its answer mirrored; or those whose path starts with one of
        ``routes``. The route is the path, unless the application puts its own into
        ``environ["shadowlane.route"]``."""
        from shadowlane.producers.wsgi import WsgiMiddleware

        return WsgiMiddleware(self, app, routes) if self.enabled else app

    def observe(
        self,
        *,
        route: str | None = None,
        key: Callable[[Mapping[str, Any]], object] | None = None,
        leave_out: Collection[str] = (),
    ) -> Callable[[F], F]:
        """Decorator: mirror the calls of a function, sync or async: its arguments by name, and its result.

        Args:
            route: the function's qualified name if None.
            key: arguments by name -> the key that sampling sticks to.
            leave_out: names of arguments that are not mirrored (a session, a connection).

        Raises:
            TypeError: the function is a generator.
        """
        from shadowlane.producers.observe import observe_function

        return lambda function: (
            observe_function(self, function, route, key, frozenset(leave_out)) if self.enabled else function
        )

    def context(
        self,
        *,
        key: object = None,
        route: object = None,
        attributes: Mapping[Any, Any] | None = None,
        request_id: object = None,
        traceparent: object = None,
        arm: object = None,
        stage: object = None,
        session: object = None,
    ) -> AbstractContextManager[None]:
        """What is mirrored within the ``with`` block carries this.

        Args:
            key: what sampling sticks to: a session, a user, a tenant.
            session: the conversation, or the agent's run, that the requests are steps of; the attribute
                ``session.id``. The key too, where none is said and sampling is to take a session as a whole.
            attributes: for slices: tenant, prompt id, language, ….
            request_id: the service's own id ([0-9A-Za-z_.-], up to 200); for the first request only.
            traceparent: W3C trace context.
            arm: who serves it, ``stable`` or ``candidate``, and
            stage: the rollout's stage, where another router than shadowlane's decides. ``Router.serving`` says
                both by itself.

        Raises:
            ConfigError: ``arm`` is neither.
        """
        if arm and arm not in ARMS:
            raise ConfigError(f"mirror.context(arm={arm!r}): it must be one of {', '.join(ARMS)}")
        if session:
            attributes = {**(attributes or {}), SESSION: session}
            key = key or said().key or session
        return saying(key, route, attributes, request_id, traceparent, arm, stage)

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until nothing is left to send. True: everything until now is mirrored or counted as dropped."""
        return self._pipeline.flush(timeout)

    def close(self, timeout: float | None = None) -> None:
        """Send what is left within ``timeout`` seconds (``exit_timeout``), then drop whatever comes.

        At the end of the process this happens by itself.
        """
        self._takes_all = False
        self._pipeline.close(self.settings.exit_timeout if timeout is None else timeout)

    def stats(self) -> dict[str, Any]:
        """What became of the requests so far, in this process.

        ``eligible`` = ``sampled_out`` + the sum of ``dropped`` (by reason) + ``mirrored`` + ``buffered``, at
        each moment. ``without_content`` counts, by reason, what is mirrored without its content;
        ``problems`` what went wrong, by kind, and ``last_problem`` is the latest text.
        """
        return self._pipeline.stats()

    def begin(
        self,
        route: str,
        protocol: str,
        *,
        key: str = "",
        traceparent: str = "",
        started: float | None = None,
        into: Exchange | None = None,
    ) -> Exchange | None:
        """For attachments: an eligible request comes in. None: it is booked already, nothing to capture.
        ``into`` is a new exchange of the attachment's own kind."""
        context = said()
        request_id = ""
        if context.request_id or not self._takes_all:
            passed, request_id = self._let_pass(context, route, key)
            if not passed:
                return None
        exchange = into or Exchange()
        exchange.source = source = self._source
        exchange.protocol = protocol
        exchange.told_route = route
        exchange.said = context
        exchange.room = source.room
        exchange.body = b""
        exchange.request_id = request_id
        if key or traceparent:
            exchange.say(key, traceparent)
        exchange.came = time_ns()
        exchange.started = perf_counter() if started is None else started
        return exchange

    def _let_pass(self, context: Said, route: str, key: str) -> tuple[bool, str]:
        """(whether the request is captured, its id or ""); books it where it is not, unless a shadow request asks."""
        if context.request_id is SHADOW:
            return False, ""
        if not self._exit_armed:
            self._arm_exit()
        now = time_ns() // 1_000_000
        pipeline, service = self._pipeline, self.settings.service
        if closed := pipeline.buffer.closed_reason:
            pipeline.refuse(now, service, self._routes.at_once(context.route or route), closed)
            return False, ""
        request_id = self._own_id(context) if context.request_id else ""
        if self._samples.takes_all:
            self._takes_all = True
            return True, request_id
        key = context.key or key
        # The thread would give it an id later; sampling without a key needs it now.
        request_id = request_id or (new_request_id(now) if not key else "")
        route = context.route or route
        left_out = self._samples.left_out(route, key or request_id, monotonic())
        if left_out is None:
            return True, request_id
        pipeline.sample_out(now, service, self._routes.at_once(route), left_out)
        return False, ""

    @staticmethod
    def _own_id(context: Said) -> str:
        taken = context.take_request_id()
        return taken if valid_request_id(taken) else ""

    def finish(self, exchange: Exchange) -> None:
        """For attachments: the request that :meth:`begin` gave is over. Again does nothing."""
        exchange.finish()

    def trouble(self, exc: BaseException) -> None:
        """For attachments: something of ours went wrong in the service's path, and was swallowed."""
        self.log.problem("internal", f"in an attachment: {type(exc).__name__}: {exc}", exc_info=True)

    def _route_failed(self) -> None:
        self.log.problem("redactor", "the redactor failed on a route: it goes out as (unredactable)")

    def _start_empty(self) -> None:
        settings = self.settings
        self._takes_all = False  # nothing to look at before a request is captured; the first one finds out
        self._samples = Samples(settings.capture)
        self._pipeline = self._new_pipeline()
        self._source = Source(
            self._pipeline.buffer,
            settings.service,
            self._routes,
            settings.max_body_bytes,
        )

    def _new_pipeline(self) -> Pipeline[Exchange]:
        settings = self.settings
        pipeline: Pipeline[Exchange]
        pipeline = Pipeline(
            self._new_link,
            lambda exchange, route: encoder(exchange, route),
            Topics(settings.topic_prefix),
            self.log,
            buffer_bytes=settings.buffer_bytes,
            hold_s=settings.delivery_timeout,
            blocked=self._blocked,
            chores=self._routes.learn,
        )
        encoder = ExchangeEncoder(self._outflow, pipeline.buffer.without_content, settings.max_body_bytes)
        return pipeline

    def _new_link(self) -> Link:
        """In the mirror's thread. Raises ConfigError."""
        settings = self.settings
        return KafkaLink(
            settings.kafka,
            Topics(settings.topic_prefix),
            buffer_bytes=settings.buffer_bytes,
            delivery_timeout_s=settings.delivery_timeout,
            options=settings.client,
            log=self.log.client,
        )

    def _arm_exit(self) -> None:
        """On the first request, so in the process that serves."""
        self._exit_armed = True
        mirror = weakref.ref(self)

        def at_exit() -> None:
            alive = mirror()
            if alive is not None:
                for call in list(alive.told):
                    call.over()  # nothing more will be told of it
                alive.close()

        atexit.register(at_exit)
        # multiprocessing ends its children without atexit.
        multiprocessing = sys.modules.get("multiprocessing.util")
        process = sys.modules.get("multiprocessing.process")
        if multiprocessing is not None and process is not None and process.parent_process() is not None:
            multiprocessing.Finalize(None, at_exit, exitpriority=0)

    def _before_fork(self) -> None:
        """A name that Kafka's client resolves in another thread at this moment holds a lock of glibc's getaddrinfo
        (__check_pf), which the child would have for ever: no connection of its own would ever begin."""
        if self._pipeline.connecting.acquire(timeout=FORK_WAIT_S):
            self._held.add(get_ident())

    def _after_fork_in_parent(self) -> None:
        if get_ident() in self._held:  # several threads may fork at once, and one alone has it
            self._held.remove(get_ident())
            self._pipeline.connecting.release()

    def _after_fork(self) -> None:
        """In the child: what the parent holds is the parent's; start empty."""
        self._pipeline.buffer.disown()
        _PARENTS.append(self._pipeline)  # kept: ending a Kafka client whose threads are not here hangs
        self._exit_armed = False
        self._held.clear()
        self._start_empty()


_MIRRORS: "weakref.WeakSet[Mirror]" = weakref.WeakSet()
_PARENTS: list[Pipeline[Exchange]] = []


def _before_fork() -> None:
    for mirror in list(_MIRRORS):
        mirror._before_fork()


def _after_fork_in_parent() -> None:
    for mirror in list(_MIRRORS):
        mirror._after_fork_in_parent()


def _after_fork_in_child() -> None:
    for mirror in list(_MIRRORS):
        mirror._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
