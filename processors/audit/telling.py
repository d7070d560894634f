"""What does not add up, in words: gaps, notes and numbers of what an inquiry has found."""

import dataclasses
from collections.abc import Iterable, Mapping

from shadowlane.processors.audit.account import Loss, Step, Where
from shadowlane.processors.audit.inquiry import READERS, Inquiry
from shadowlane.processors.audit.mirrors import Cell, Minute, balance
from shadowlane.processors.audit.result import EXAMPLES, Example, Gap, Log, Note
from shadowlane.processors.lag import group_of
from shadowlane.schemas.config import Kafka

_TRACE = {
    Step.WORKER: "there is no answer and no dead letter",
    Step.PAIRING: "there is no pair and no dead letter",
    Step.SINK: "there is no row in the store",
}
_MINUTES = {
    "gone": "a mirror says that Kafka has taken these requests, and neither Kafka nor the store has them",
    "undecided": (
        "a mirror has counted these requests and never said what became of them, and they are not in Kafka: "
        "its process was killed, or its last counts did not reach Kafka"
    ),
    "uncounted": (
        "requests that came and that no mirror has counted: its process was killed before it could, or a producer "
        "of your own keeps no ledger"
    ),
}


def lost(inquiry: Inquiry, kafka: Kafka) -> list[Gap]:
    """What still looks lost, by who lost it and where. Counts where the requests among it are."""
    losses: list[tuple[Loss, str]] = []
    for name, request in inquiry.suspects.requests.items():
        found = inquiry.judge(request)
        began = inquiry.began.get(request.owed.rollout, 0) or inquiry.ask.places.began_at(
            request.service, request.route, inquiry.began
        )
        if found.losses and request.ts < began:
            inquiry.before[request.owed.rollout] += 1
            continue
        if found.losses or found.where is Where.LOST or not inquiry.strays(name, request):
            inquiry.count(found)  # else it is counted with its id's own partition
        losses += [(loss, name) for loss in found.losses]
    for one in inquiry.suspects.records:
        losses.append((Loss(READERS[one.kind], one.record), one.request_id))
    for _, record in inquiry.suspects.cells.values():
        losses.append((Loss(Step.SINK, record), ""))
    return _by_place(losses, kafka)


def _by_place(losses: Iterable[tuple[Loss, str]], kafka: Kafka) -> list[Gap]:
    gaps: dict[tuple[Step, str], Gap] = {}
    for loss, request_id in sorted(losses, key=lambda one: _order(one[0])):
        place = loss.record.place
        gap = gaps.get((loss.step, place.topic))
        if gap is None:
            text = (
                f"the {loss.step} (group {group_of(loss.step, kafka)}) has committed past records of "
                f"{place.topic} of which {_TRACE[loss.step]}"
            )
            gap = gaps[loss.step, place.topic] = Gap("lost", loss.step, place.topic, 0, text)
        gap.count += 1
        if len(gap.examples) < EXAMPLES:
            gap.examples.append(Example(place.topic, place.partition, place.offset, place.line, request_id))
    return list(gaps.values())


def _order(loss: Loss) -> tuple[str, str, int, int, int]:
    place = loss.record.place
    return (loss.step, place.topic, place.partition, place.offset, place.line)


def weighed(
    inquiry: Inquiry, cells: Iterable[Cell], resolved: Mapping[Minute, int], quiet: int
) -> tuple[list[Gap], list[Note]]:
    """What the mirrors say against what came. ``quiet``: before then a mirror must have said all (Unix ms)."""

    def mine(minute: int, service: str, route: str) -> bool:
        # Of the minute in which a rollout began, some requests may be from before it.
        began = inquiry.ask.places.began_at(service, route, inquiry.began)
        return inquiry.ask.places.takes(service, route) and minute >= began

    minutes = balance(
        [cell for cell in cells if mine(cell.minute, cell.service, cell.route)],
        {place: n for place, n in resolved.items() if mine(*place)},
        {place: n for place, n in inquiry.under_way.items() if mine(*place)},
        quiet,
    )
    gaps, notes = [], []
    for kind, text in _MINUTES.items():
        wrong = [one for one in minutes if getattr(one, kind)]
        count = sum(getattr(one, kind) for one in wrong)
        if kind == "uncounted" and count:
            notes.append(Note(kind, count, text))
        elif count:
            named = [dataclasses.asdict(one) for one in wrong[:EXAMPLES]]
            gaps.append(Gap(kind, "mirror", inquiry.topics.ledger, count, text, minutes=named))
    return gaps, notes


def past_end(inquiry: Inquiry) -> list[Gap]:
    """Committed offsets that are beyond their partition's end."""
    gaps = []
    for partition, committed in sorted(inquiry.committed.items()):
        end = max(inquiry.reading.next.get(partition, 0), inquiry.spans[partition].latest)
        if committed > end:
            topic, number = partition
            step = READERS[inquiry.ask.logs.kinds[topic]]
            text = (
                f"the {step} has committed offset {committed} of {topic}, partition {number}, which ends "
                f"at {end}: Kafka has lost records, or the topic was made anew"
            )
            gaps.append(Gap("committed_past_end", step, topic, committed - end, text))
    return gaps


def removed_unread(inquiry: Inquiry) -> list[Gap]:
    """What Kafka has removed before its reader had committed it."""
    behind = {p for p, committed in inquiry.committed.items() if committed < inquiry.earliest[p]}
    if not behind:
        return []
    committed = inquiry.ask.logs.committed(inquiry.partitions)  # the logs were asked after the first time
    gaps = []
    for partition in sorted(behind):
        first = inquiry.earliest[partition]
        at = committed.get(partition, first)
        if at < first:
            topic, number = partition
            step = READERS[inquiry.ask.logs.kinds[topic]]
            text = (
                f"the {step} has committed offset {at} of {topic}, partition {number}, which begins at {first}: "
                "Kafka has removed messages (retention) that were not read"
            )
            gaps.append(Gap("removed_unread", step, topic, first - at, text))
    return gaps


def logs(inquiry: Inquiry) -> list[Log]:
    """Each partition, as it was read."""
    return [
        Log(
            topic,
            number,
            span.earliest,
            max(span.latest, inquiry.reading.next.get((topic, number), 0)),
            inquiry.committed.get((topic, number)),
            inquiry.records[topic, number],
            READERS[inquiry.ask.logs.kinds[topic]],
        )
        for (topic, number), span in sorted(inquiry.spans.items())
    ]


def notes(inquiry: Inquiry, copies: int) -> list[Note]:
    """What is no gap. ``copies``: rows of pairs that the store has more than once."""
    removed = sum(span.earliest for span in inquiry.spans.values())
    found = [
        Note(
            "retention",
            removed,
            "Kafka has removed these messages (retention): of them the store and the mirrors' counts alone speak",
        ),
        Note(
            "copies",
            copies,
            "rows of pairs that the store holds more than once: every view counts them once",
        ),
        *(
            Note(
                "before_rollout", count, f"requests without a row from before the rollout {rollout} was there"
            )
            for rollout, count in inquiry.before.items()
        ),
        Note(
            "unproved",
            inquiry.unproved,
            "requests whose answer would be in a part of the log that Kafka has removed",
        ),
    ]
    return [note for note in found if note.count]
