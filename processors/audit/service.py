"""The audit itself: reads the offsets, then the records, asks the store, and says what does not add up.

The order is the proof (:mod:`shadowlane.processors.audit.account`): what the mirrors say, the committed
offsets, the records, and the store after each part of them. What looks lost is looked at again after a while.
"""

import time
from contextlib import closing

from shadowlane.processors.audit import telling
from shadowlane.processors.audit.account import Where
from shadowlane.processors.audit.again import ask_again, look_again, sort_out
from shadowlane.processors.audit.inquiry import Progress, Sources, begin
from shadowlane.processors.audit.logs import Logs
from shadowlane.processors.audit.places import Places, Scope
from shadowlane.processors.audit.result import Audit
from shadowlane.processors.audit.stored import Stored
from shadowlane.processors.audit.walk import groups, read_cells, read_group, read_letters, read_noise
from shadowlane.schemas.config import Settings

EVERYTHING = Scope()
SETTLE_S = 3.0
UNSAID_MS = 120_000  # how old a minute must be before a mirror must have said what became of its requests


def audit(
    settings: Settings,
    scope: Scope = EVERYTHING,
    *,
    settle_s: float = SETTLE_S,
    progress: Progress = lambda what, done, whole: None,
) -> Audit:
    """Where every request is that Kafka holds, and whether the ledger adds up. Blocks; changes nothing.

    The system may be running meanwhile.

    Raises:
        ConfigError: the scope's rollout is not in the configuration.
        BrokerError: Kafka can't be reached, or a topic is missing.
        StoreError: ClickHouse can't be reached, or is not set up.
    """
    scope = scope.whole()
    places = Places(settings, scope)
    with closing(Logs(settings.kafka)) as logs, closing(Stored(settings.clickhouse)) as stored:
        return _audit(settings, scope, Sources(places, logs, stored, progress), settle_s)


def _audit(settings: Settings, scope: Scope, sources: Sources, settle_s: float) -> Audit:
    started = time.monotonic()
    since, until = scope.since, scope.until
    result = Audit(int(time.time() * 1000), 0.0, scope.rollout, since, until)
    stored, topics = sources.stored, settings.kafka.topics

    cells = stored.mirrors(since, until)
    inquiry = begin(sources, topics, since)
    read_letters(inquiry, inquiry.all_of(topics.dead_letters))
    for group in groups(inquiry):
        requests = read_group(inquiry, group)
        ask_again(inquiry, requests)
        sort_out(inquiry, requests)
    read_noise(inquiry, inquiry.all_of(topics.noise))
    read_cells(inquiry, inquiry.all_of(topics.ledger))
    resolved = stored.resolved(since, until)
    look_again(inquiry, settle_s)

    quiet = result.at - UNSAID_MS - int(settings.pairing.wait_s * 1000)
    result.rows, result.pairs = stored.copies(since, until)
    result.gaps += telling.lost(inquiry, settings.kafka)
    gaps, notes = telling.weighed(inquiry, cells, resolved, quiet)
    result.gaps += gaps + telling.past_end(inquiry) + telling.removed_unread(inquiry)
    result.notes += notes + telling.notes(inquiry, copies=result.rows - result.pairs)
    result.logs = telling.logs(inquiry)
    result.records = sum(inquiry.records.values())
    result.open = {str(where): inquiry.open[where] for where in Where if where is not Where.STORED}
    result.ledger = stored.ledger(since, until)
    result.took_s = time.monotonic() - started
    return result
