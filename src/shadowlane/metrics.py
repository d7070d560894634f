"""Every Prometheus metric of the system: its name, what it counts, its labels. Nothing else names one.

A name is ``shadowlane_<component>_<what>_<unit>``, with ``_total`` where it only rises. Labels are of a few values
that the configuration or the code gives: a rollout, a reason, a topic, a partition. Never an id, and never a text from
traffic (an attribute, an error's message, the model that an answer names): those are without end, and not ours.

No Prometheus client is needed to read this; what exposes them is in ``shadowlane.processors.watch`` for the
components, and in ``shadowlane.producers.prometheus`` for the mirror in a service. ``docs/observability.md`` lists
them, and a test compares.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One name. ``kind`` is Prometheus' own; a histogram's values are in the unit that its name ends with."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


def _counter(name: str, help: str, *labels: str) -> Metric:
    return Metric(f"shadowlane_{name}_total", "counter", help, labels)


def _gauge(name: str, help: str, *labels: str) -> Metric:
    return Metric(f"shadowlane_{name}", "gauge", help, labels)


def _histogram(name: str, help: str, *labels: str) -> Metric:
    return Metric(f"shadowlane_{name}", "histogram", help, labels)


# Of every component. The process itself is in the client's own process_* metrics.
BUILD_INFO = _gauge("build_info", "always 1; which version runs as what", "component", "version", "python")
LOOP_AGE = _gauge(
    "loop_age_seconds", "since a loop of the component last turned; /healthz goes by it", "loop"
)
READY = _gauge("ready", "1 where /readyz says 200")
STALLED = _counter(
    "watchdog_restarts", "starts since the watchdog ended it, of `shadowlane up`; else see the exit code 8"
)
WAITING = _gauge("waiting_seconds", "how long it has waited for something else; no value: it does not", "for")

# Reading from Kafka (worker, pairing, sink). Each member of a group tells of the whole group, so take the max.
CONSUMER_LAG = _gauge(
    "consumer_lag_messages", "messages (envelopes) that the group has not committed", "topic", "partition"
)
CONSUMER_COMMITTED = _gauge("consumer_committed_offset", "the group's committed offset", "topic", "partition")
CONSUMER_STALLED = _gauge(
    "consumer_commit_stalled_seconds",
    "how long the committed offset has not moved although there is lag",
    "topic",
    "partition",
)
CONSUMER_AGE = _gauge(
    "consumer_oldest_message_age_seconds",
    "how long the oldest message that is not committed has been there, as far as this process has seen",
    "topic",
    "partition",
)
CONSUMER_READ_AT = _gauge(
    "consumer_lag_read_timestamp_seconds", "when Kafka last told the offsets that the lag is made of"
)

# Writing to Kafka (worker, pairing, sink).
PRODUCER_QUEUED = _gauge("producer_queued_bytes", "of records that Kafka has not acknowledged yet")
PRODUCER_WRITTEN = _counter("producer_written_records", "that Kafka has acknowledged")
PRODUCER_FAILED = _counter("producer_failed_records", "that Kafka did not take; their owner is told each")

# The shadow worker.
WORKER_REQUESTS = _counter("worker_requests", "mirrored requests that were begun")
WORKER_NOT_SHADOWED = _counter("worker_not_shadowed", "requests that no rollout takes")
WORKER_ATTEMPTS = _counter("worker_attempts", "calls sent to an arm, each attempt")
WORKER_ANSWERS = _counter("worker_answers", "requests that were answered")
WORKER_STOPPED = _gauge(
    "worker_stopped", "1 where the rollout's calls are stopped, by command or file", "rollout"
)
WORKER_BUDGET = _gauge(
    "worker_budget_taken_ratio",
    "what all workers have taken of the present window, of the measure that is scarcest",
    "rollout",
    "window",
)
WORKER_CIRCUIT = _gauge(
    "worker_circuit_open", "1 where the version does not answer and is left alone", "rollout", "arm"
)
WORKER_PACED = _gauge("worker_paced_seconds", "until its provider may be asked again", "rollout", "arm")
WORKER_WAITING = _gauge(
    "worker_waiting_for_limit",
    "requests that wait for a limit or for their next attempt, and take no place of others",
    "rollout",
    "arm",
)
WORKER_FAILURES = _counter("worker_failures", "requests that ended in a failure, by its kind", "reason")
WORKER_REJECTED = _counter(
    "worker_rejected_parameters",
    "answers by which a version refused a parameter of the request",
    "rollout",
    "arm",
    "parameter",
)
WORKER_ASKED_WITHOUT = _counter(
    "worker_parameters_left_out",
    "requests asked without a parameter that the version does not take, or with its other name",
    "rollout",
    "arm",
    "parameter",
)
WORKER_BASELINES = _counter("worker_baselines", "requests that the stable version answered again, for noise")
WORKER_BASELINE_FAILURES = _counter(
    "worker_baseline_failures", "of these, that ended in a failure, by its kind", "reason"
)
WORKER_DEAD_LETTERS = _counter("worker_dead_letters", "requests that could not be read or handled")
WORKER_GIVEN_BACK = _counter("worker_given_back", "requests left to the partition's next owner, at a stop")
WORKER_IN_FLIGHT = _gauge("worker_in_flight_requests", "that an arm is being asked now")
WORKER_HELD = _gauge("worker_held_bytes", "of requests and answers of calls under way, copies included")
WORKER_WAIT_FOR_ROOM = _gauge("worker_waiting_for_room", "calls that wait for memory (worker.max_bytes)")
WORKER_LATENCY = _histogram(
    "worker_latency_seconds",
    "of a request's last attempt, from sending to the last byte; failures too",
    "rollout",
)

# Pairing and scoring.
PAIRING_PAIRS = _counter(
    "pairing_pairs", "that went out: scored, abstained (why), unpaired (why)", "outcome", "reason"
)
PAIRING_NOISE = _counter(
    "pairing_noise_pairs",
    "of the stable version with itself, likewise; in no other number",
    "outcome",
    "reason",
)
PAIRING_REPEATED = _counter("pairing_repeated_halves", "that had come before")
PAIRING_LATE = _counter("pairing_late_halves", "that came after the other one had gone out as unpaired")
PAIRING_OTHER_EPOCH = _counter(
    "pairing_other_epoch_halves", "shadow halves of an epoch or a rollout that is not the current one"
)
PAIRING_SHORTENED = _counter("pairing_shortened_pairs", "whose texts were cut, since Kafka took no such size")
PAIRING_SCORER_FAILURES = _counter(
    "pairing_scorer_failures", "scores that a scorer failed to give, so it abstained", "rollout", "scorer"
)
PAIRING_DEAD_LETTERS = _counter("pairing_dead_letters", "records that could not be read")
PAIRING_WAITING = _gauge("pairing_waiting_halves", "that wait for the other one")
PAIRING_WAITING_BYTES = _gauge("pairing_waiting_bytes", "of memory that these take, estimated")
PAIRING_OLDEST = _gauge(
    "pairing_oldest_half_age_seconds", "how long the oldest of these has waited; 0 where none does"
)
PAIRING_UNACKNOWLEDGED = _gauge("pairing_unacknowledged_envelopes", "read, and not yet free to be committed")
PAIRING_PAUSED = _gauge("pairing_paused_partitions", "whose reading waits, since as much waits as may")

# The sink.
SINK_MESSAGES = _counter("sink_messages", "read from Kafka")
SINK_ROWS = _counter("sink_rows", "written to the store, dead letters included")
SINK_BLOCKS = _counter("sink_blocks", "written to the store, each by one insert")
SINK_INSERT = _histogram(
    "sink_insert_seconds", "how long a block took that was written, its failed tries left out"
)
SINK_RETRIES = _counter("sink_retries", "inserts that failed, and were tried again")
SINK_DEAD_LETTERS = _counter("sink_dead_letters", "rows that the store can't read")
SINK_INSERTED_AT = _gauge(
    "sink_last_insert_timestamp_seconds", "when the last block was written; 0: none yet"
)
SINK_PAUSED = _gauge("sink_paused", "1 while the store takes no inserts, and reading waits")

# The controller. What rollouts stand at is told by the one that leads.
CONTROLLER_POLLS = _counter("controller_polls", "that went through; as the leader, or standing by", "role")
CONTROLLER_FAILED_POLLS = _counter(
    "controller_failed_polls", "in which the store could not be asked, or a rollout failed"
)
CONTROLLER_POLLED_AT = _gauge(
    "controller_last_successful_poll_timestamp_seconds",
    "when a poll last went through with no failure; 0: none yet",
)
CONTROLLER_LEADER = _gauge("controller_leader", "1 where this one leads")
CONTROLLER_TRAFFIC = _gauge(
    "controller_traffic_ratio", "the share of the users that the candidate serves", "rollout"
)
CONTROLLER_ROLLOUT = _gauge(
    "controller_rollout_info", "always 1; where a rollout stands", "rollout", "stage", "phase"
)
CONTROLLER_DECISIONS = _counter("controller_decisions", "written to the log", "rollout", "event")
CONTROLLER_ALERTS = _counter(
    "controller_alerts", "attempts to tell on-call: sent, failed, refused", "outcome"
)
CONTROLLER_ALERTS_WAITING = _gauge("controller_alerts_waiting", "alerts that a channel has not taken yet")

# The OFREP endpoint.
FLAGS_REQUESTS = _counter(
    "flags_requests", "answered, by what was asked and the HTTP status", "endpoint", "status"
)
FLAGS_CONTACT_AGE = _gauge("flags_kafka_contact_age_seconds", "since Kafka last answered the router")

# Services in other languages.
INGEST_REQUESTS = _counter(
    "ingest_http_requests", "answered, by what was asked and the HTTP status", "endpoint", "status"
)
INGEST_ELIGIBLE = _counter("ingest_eligible_requests", "that came, each once")
INGEST_SAMPLED_OUT = _counter("ingest_sampled_out_requests", "left out by sampling")
INGEST_MIRRORED = _counter("ingest_mirrored_requests", "that Kafka has")
INGEST_DROPPED = _counter("ingest_dropped_requests", "not mirrored, by reason", "reason")
INGEST_REPEATED = _counter("ingest_repeated_requests", "that had come before, and count once")
INGEST_REFUSED = _counter("ingest_refused_exchanges", "that can't be read; who sent them is told why")
INGEST_WITHOUT_CONTENT = _counter("ingest_without_content_requests", "mirrored without content", "reason")
INGEST_JOINED = _counter("ingest_joined_requests", "that a gateway copied, with what was served to them")
INGEST_LATE = _counter("ingest_repeated_halves", "of these, that came twice or too late")
INGEST_WAITING = _gauge("ingest_waiting_halves", "of these, that wait for the other half")
INGEST_WAITING_BYTES = _gauge("ingest_waiting_bytes", "that these have")
INGEST_SPANS = _counter(
    "ingest_spans", "OpenTelemetry spans, by what became of them; unreadable are messages", "outcome"
)
INGEST_HELD_BYTES = _gauge("ingest_held_bytes", "of bodies that wait for Kafka's acknowledgement")

# The mirror in a service: shadowlane.producers.prometheus.
MIRROR_ELIGIBLE = _counter("mirror_eligible_requests", "that came by the mirror", "service")
MIRROR_SAMPLED_OUT = _counter("mirror_sampled_out_requests", "left out by sampling", "service")
MIRROR_MIRRORED = _counter("mirror_mirrored_requests", "that Kafka has", "service")
MIRROR_DROPPED = _counter("mirror_dropped_requests", "not mirrored, by reason", "service", "reason")
MIRROR_WITHOUT_CONTENT = _counter(
    "mirror_without_content_requests", "mirrored without content", "service", "reason"
)
MIRROR_PROBLEMS = _counter("mirror_problems", "what went wrong, by kind", "service", "kind")
MIRROR_BUFFERED = _gauge("mirror_buffered_requests", "that wait for Kafka", "service")
MIRROR_BUFFERED_BYTES = _gauge("mirror_buffered_bytes", "of memory that is reserved for these", "service")
MIRROR_CONNECTED = _gauge("mirror_connected", "1 while Kafka answers", "service")

ALL = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
