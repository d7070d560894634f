"""The table: each fault, what is promised, how it is done, and what must be seen. In scenes that share a system."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from faults import answers, attachments, data, functions, machine, overload, processes, servers
from faults.case import Fault
from faults.stack import Plan

# A broker that stops in order and starts again may take minutes on a machine with other work: by default the mirror
# would drop after one, with the reason, which is its promise too.
LONG_S = 300.0
PATIENT = {"delivery_timeout": LONG_S}

AGAIN = "no request lost, none counted twice, the verdict unchanged"


Prepare = Callable[[Path, Plan], AbstractContextManager[None]]
"""Changes what the system is started with, for as long as it runs."""


@dataclass(frozen=True)
class Scene:
    """Faults that run one after the other on one system."""

    name: str
    faults: tuple[Fault, ...]
    nodes: int = 1  # of Apache Kafka
    brokers: tuple[str, ...] = ("embedded", "kafka")
    wait_s: float = 60.0  # pairing.wait_s
    needs: Callable[[], str] = lambda: ""  # why it can't run on this machine
    prepare: Prepare = lambda folder, plan: contextlib.nullcontext()


KILLS = Scene(
    "kills",
    (
        Fault("worker-killed-twice", AGAIN, processes.killed_twice("worker"), arm="slow"),
        *(
            Fault(f"{component}-killed-twice", AGAIN, processes.killed_twice(component), arm="worse")
            for component in ("pairing", "sink", "controller")
        ),
        Fault("all-killed-at-once", AGAIN, processes.all_killed),
    ),
)

REBALANCES = Scene(
    "rebalances",
    tuple(
        Fault(f"{component}-killed-at-rebalance", AGAIN, processes.killed_at_rebalance(component))
        for component in ("worker", "pairing", "sink")
    ),
)

STOPS = Scene(
    "stops",
    (
        *(
            Fault(f"{component}-stopped", AGAIN, processes.stopped(component))
            for component in ("worker", "pairing", "sink")
        ),
        *(
            # The embedded broker waits in vain for the one that stands still, where a second one joins meanwhile.
            Fault(
                f"{component}-stopped-and-replaced",
                AGAIN,
                processes.stopped_with_a_second(component),
                brokers=("kafka",),
            )
            for component in ("worker", "pairing", "sink")
        ),
        Fault(
            "leading-controller-stopped",
            "one leads, each decision once",
            processes.leader_stopped,
            arm="worse",
        ),
    ),
)

BROKER = Scene(
    "broker",
    (
        Fault("broker-killed-and-back", AGAIN, servers.broker_killed, mirror=PATIENT),
        Fault("broker-stopped-and-back", AGAIN, servers.broker_stopped, arm="worse", mirror=PATIENT),
    ),
    wait_s=LONG_S,
)

THREE = Scene(
    "three-brokers",
    (Fault("each-of-three-brokers-killed", AGAIN, servers.one_of_three_killed, mirror=PATIENT),),
    nodes=3,
    wait_s=LONG_S,
    brokers=("kafka",),
)

STORE = Scene(
    "store",
    (
        Fault("store-killed-and-back", AGAIN, servers.store_killed),
        Fault("store-killed-with-half-an-insert", AGAIN, servers.killed_in_an_insert, arm="worse"),
        Fault("store-killed-while-inserting", AGAIN, servers.killed_while_inserting),
        Fault(
            "store-killed-after-its-commit-before-its-answer",
            AGAIN,
            servers.killed_before_the_answer,
            arm="worse",
        ),
    ),
)

NETWORK = Scene(
    "network",
    (
        Fault("broker-cut-off", AGAIN, servers.cut(servers.brokers)),
        Fault("store-cut-off", AGAIN, servers.cut(servers.store)),
        Fault("broker-and-store-cut-off", AGAIN, servers.cut(servers.all_proxies), arm="worse"),
        Fault("packets-to-the-broker-dropped", AGAIN, servers.held(servers.brokers)),
        Fault("packets-to-the-store-dropped", AGAIN, servers.held(servers.store), arm="worse"),
        Fault("all-delayed-by-100-ms", AGAIN, servers.slowed(servers.all_proxies, delay_s=0.1)),
        Fault("bandwidth-halved", AGAIN, servers.slowed(servers.all_proxies, bytes_per_s=40_000)),
    ),
)

DATA = Scene(
    "data",
    (
        Fault("everything-twice", AGAIN, data.duplicated, data.settled_and_unchanged),
        Fault(
            "replay-from-offset-0",
            "no number changes",
            data.replayed,
            data.settled_and_unchanged,
            arm="worse",
            brokers=("kafka",),  # the embedded one lets nobody set back the group of a consumer that was stopped
        ),
        Fault(
            "out-of-order", AGAIN, data.disordered, before=data.aside, mirror={"topic_prefix": data.ASIDE}
        ),
        Fault(
            "poison-on-every-topic",
            "buried with its place; the traffic beside it as without",
            data.poison_everywhere,
            data.poison_is_buried,
        ),
    ),
)  # fmt: skip

LATE = Scene(
    "lateness",
    (
        Fault(
            "late-answers",
            "unpaired with the reason, counted once; the rest decides",
            check=data.late_ones_are_unpaired,
            arm="late",
            rollout={"candidate": {"timeout_s": 120.0}},
        ),
    ),
    wait_s=15.0,
)

PARTITIONS = Scene(
    "partitions",
    (
        Fault(
            "partitions-added",
            "nothing lost from sight; what can't meet any more is unpaired, and start-up refuses a mixture",
            data.partitions_added,
            data.partitions_are_noticed,
        ),
    ),
    brokers=("kafka",),  # the embedded one can't add any
)

CANDIDATE = Scene(
    "candidate",
    (
        Fault("429-with-retry-after", "waited for; no score, no regression", arm="busy"),
        Fault("429-without-retry-after", "tried again; no score, no regression", arm="curt"),
        Fault("529", "abstained as throttled, no regression", check=answers.throttled(5), arm="overloaded"),
        Fault("spend-limit", "abstained, never tried again", check=answers.spent(150), arm="spent"),
        Fault(
            "answer-drips",
            "a timeout within timeout_s, counted as a failure",
            check=answers.failed("timeout", 20),
            arm="drip",
        ),
        Fault(
            "answer-cut-off",
            "tried again, then a connection failure",
            check=answers.failed("connection", 20),
            arm="cut",
        ),
        Fault(
            "answer-is-garbage",
            "a failure of the candidate, never of the worker",
            check=answers.failed("bad_response", 20),
            arm="garbage",
        ),
    ),
)


@contextlib.contextmanager
def _own_scorers(folder: Path, plan: Plan) -> Iterator[None]:
    plan.environment |= functions.install(folder / "installed")
    yield


FUNCTIONS = Scene(
    "functions",
    (
        Fault(
            "scorer-raises", "it abstains, and is told of; the pair is scored by the others",
            check=functions.abstains_on("raising", 24), rollout=functions.with_scorer("raising"),
        ),
        Fault(
            "scorer-hangs", "ended after its time; it abstains, pairing goes on",
            check=functions.abstains_on("hanging", 2), rollout=functions.with_scorer("hanging"),
        ),
        Fault(
            "scorer-returns-nonsense", "it abstains, and is told of",
            check=functions.abstains_on("nonsense", 24), rollout=functions.with_scorer("nonsense"),
        ),
        Fault(
            "scorer-ends-its-process", "it abstains, and pairing is not its process",
            check=functions.abstains_on("ending", 2), rollout=functions.with_scorer("ending"),
        ),
        Fault(
            "redactor-raises", "mirrored without content, never unredacted",
            check=functions.without_content(12), mirror={"redact": functions.raises},
        ),
        Fault(
            "redactor-returns-nonsense", "mirrored without content, never unredacted",
            check=functions.without_content(12), mirror={"redact": functions.returns_nonsense},
        ),
        Fault(
            "redactor-hangs", "mirrored without content; neither the service nor the mirror waits for it",
            check=functions.without_content(2, "redactor_timeout"), mirror={"redact": functions.hangs},
        ),
    ),
    prepare=_own_scorers,
)  # fmt: skip


@contextlib.contextmanager
def _small_disks(folder: Path, plan: Plan) -> Iterator[None]:
    with (
        machine.small_disk(folder / "store-disk") as one,
        machine.small_disk(folder / "broker-disk") as other,
    ):
        plan.store_data, plan.broker_data = one / "store", other / "kafka"
        yield


DISKS = Scene(
    "disks",
    (
        Fault("store-disk-full", AGAIN, machine.store_disk_full),
        Fault("broker-disk-full", AGAIN, machine.broker_disk_full, brokers=("kafka",), mirror=PATIENT),
    ),
    wait_s=LONG_S,
    needs=machine.no_small_disk,
    prepare=_small_disks,
)


@contextlib.contextmanager
def _own_clocks(folder: Path, plan: Plan) -> Iterator[None]:
    plan.up_environment |= machine.own_clock(folder / "clocks" / "components")
    plan.store_environment |= machine.own_clock(folder / "clocks" / "store")
    yield


CLOCKS = Scene(
    "clocks",
    tuple(
        Fault(f"{whose}-clock-{how}", AGAIN, machine.jumps(whose, seconds), arm=arm)
        for whose in ("components", "store")
        for how, seconds, arm in (("an-hour-ahead", 3600, "good"), ("an-hour-back", -3600, "worse"))
    ),
    needs=machine.no_faketime,
    prepare=_own_clocks,
)

OVERLOAD = Scene(
    "overload",
    (
        Fault(
            "candidate-ten-times-slower",
            "memory is bounded, status says why, nothing is lost, and it catches up",
            overload.candidate_slower,
            arm="paced",
            before=overload.slow_candidate,
            count=overload.COUNT,
            seconds=overload.SECONDS,
            size=overload.SIZE,
            mirror=PATIENT,
        ),
        Fault(
            "sink-lags",
            "memory is bounded, status says why, nothing is lost, and it catches up",
            overload.store_slow,
            count=overload.COUNT,
            seconds=overload.SECONDS,
            size=overload.SIZE,
            mirror=PATIENT,
        ),
        Fault(
            "store-away-for-long",
            "memory is bounded, status says why, nothing is lost, and it catches up",
            overload.store_away,
            count=overload.AWAY_COUNT,
            seconds=overload.AWAY_COUNT / overload.AWAY_RATE,
            size=2000,
            mirror=PATIENT,
        ),
    ),
    wait_s=LONG_S,
    prepare=overload.small_buffers,
)

FOR_GOOD = Scene(
    "overload-for-good",
    (
        Fault(
            "candidate-slower-than-pairing-waits",
            "what it does not answer in time is unpaired, with the reason; the ledger is exact",
            overload.slower_for_good,
            overload.the_rest_is_unpaired,
            arm="paced",
            before=overload.slow_candidate,
        ),
    ),
    wait_s=15.0,
    prepare=overload.small_buffers,
)

FULL = Scene(
    "full",
    tuple(
        Fault(
            name,
            "the service feels nothing; what is dropped is in the ledger, with the reason; with room it goes on",
            inject,
            overload.all_but_the_dropped,
            arm="paced",
            before=overload.slow_candidate,
            count=overload.FULL_COUNT,
            seconds=overload.FULL_COUNT / overload.FULL_RATE,
            size=overload.FULL_SIZE,
            mirror=overload.MIRROR,
        )
        for name, inject in (
            ("embedded-broker-full", overload.broker_full),
            ("embedded-broker-full-and-raised", overload.broker_full_and_raised),
        )
    ),
    brokers=("embedded",),
    wait_s=120.0,  # longer than the slow candidate's backlog
    prepare=overload.small_broker,
)

HELD = "every answer that the service gave is in the ledger"

SERVICES = Scene(
    "services",
    (
        Fault(
            "gunicorn-with-preload", HELD,
            check=attachments.every_answer_is_there(1.0), service=attachments.Gunicorn,
        ),
        Fault(
            "gunicorn-terminated", HELD, attachments.terminated,
            attachments.every_answer_is_there(0.5), service=attachments.Gunicorn,
        ),
        Fault(
            "uvicorn-with-workers", HELD,
            check=attachments.every_answer_is_there(1.0), service=attachments.Uvicorn,
        ),
        Fault(
            "uvicorn-terminated", HELD, attachments.terminated,
            attachments.every_answer_is_there(0.5), service=attachments.Uvicorn,
        ),
        Fault(
            "celery-forks", HELD,
            check=attachments.every_answer_is_there(1.0), service=attachments.Celery,
        ),
    ),
)  # fmt: skip

SCENES = (
    KILLS,
    REBALANCES,
    STOPS,
    BROKER,
    THREE,
    STORE,
    NETWORK,
    DATA,
    LATE,
    PARTITIONS,
    CANDIDATE,
    FUNCTIONS,
    DISKS,
    OVERLOAD,
    FOR_GOOD,
    FULL,
    CLOCKS,
    SERVICES,
)
