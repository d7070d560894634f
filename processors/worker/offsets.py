"""Which offsets may be committed: only up to the lowest message of a partition that is not finished. Pure.

A message is finished once each of its records is: its response (or dead letter) acknowledged by Kafka, or
nothing to do for it. So after a crash every record that has no response yet is read again, and some that
have one (at least once).
"""

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Assignment:
    """One partition, from the moment it was given to this worker until it was taken away."""

    partition: int
    owned: bool = True
    pending: deque["Ticket"] = field(default_factory=deque)  # by offset: finished ones stay behind others
    position: int | None = None  # may be committed: the offset after the last of the finished prefix
    committed: int | None = None


@dataclass(slots=True, eq=False)
class Ticket:
    """One message that is being worked on."""

    assignment: Assignment
    offset: int
    records: int  # not finished yet
    record_bytes: int  # of one, on average

    @property
    def owned(self) -> bool:
        """Whether its partition still belongs to this worker. May be read from any thread."""
        return self.assignment.owned


class Offsets:
    """The partitions that this worker owns, and how far each one is. For one thread.

    ``records`` and ``bytes`` say how much was begun and is not finished, over all owned partitions.
    """

    def __init__(self) -> None:
        self._assigned: dict[int, Assignment] = {}
        self.records = 0
        self.bytes = 0
        self.messages = 0
        """Those that can't be committed, finished or not."""

    def assign(self, partition: int) -> None:
        """The partition is this worker's from here on, with nothing begun."""
        self.revoke(partition)
        self._assigned[partition] = Assignment(partition)

    def revoke(self, partition: int) -> None:
        """Forgets the partition: its tickets count for nothing any more, here or if it comes back."""
        assignment = self._assigned.pop(partition, None)
        if assignment is not None:
            assignment.owned = False
            self.messages -= len(assignment.pending)
            self.records -= sum(t.records for t in assignment.pending)
            self.bytes -= sum(t.records * t.record_bytes for t in assignment.pending)

    def begin(self, partition: int, offset: int, records: int, size: int) -> Ticket:
        """A message of so many records and bytes was read. Offsets come in rising order, gaps allowed.

        Raises:
            ValueError: the partition is not owned, or the offset is not above the one before it.
        """
        assignment = self._assigned.get(partition)
        if assignment is None:
            raise ValueError(f"partition {partition} is not assigned")
        highest = assignment.pending[-1].offset if assignment.pending else (assignment.position or 0) - 1
        if offset <= highest:
            raise ValueError(f"partition {partition}: offset {offset} after {highest}")
        ticket = Ticket(assignment, offset, records, size // max(1, records))
        assignment.pending.append(ticket)
        self.messages += 1
        self.records += records
        self.bytes += records * ticket.record_bytes
        self._advance(assignment)
        return ticket

    def finish(self, ticket: Ticket) -> None:
        """One record of the message is finished. Nothing happens where the partition is no longer owned.

        Raises:
            ValueError: all of its records were finished before.
        """
        if not ticket.owned:
            return
        if ticket.records == 0:
            raise ValueError(f"offset {ticket.offset}: more records finished than it holds")
        ticket.records -= 1
        self.records -= 1
        self.bytes -= ticket.record_bytes
        self._advance(ticket.assignment)

    def committable(self, partitions: list[int] | None = None) -> dict[int, int]:
        """Partition -> the offset to commit (the next one to read), where that has moved since."""
        return {
            p: a.position
            for p, a in self._assigned.items()
            if a.position is not None
            and a.position != a.committed
            and (partitions is None or p in partitions)
        }

    def committed(self, offsets: dict[int, int]) -> None:
        """These were committed."""
        for partition, offset in offsets.items():
            if partition in self._assigned:
                self._assigned[partition].committed = offset

    def not_committed(self, partition: int) -> None:
        """The last commit of this partition failed: it is committable again."""
        if partition in self._assigned:
            self._assigned[partition].committed = None

    def _advance(self, assignment: Assignment) -> None:
        while assignment.pending and assignment.pending[0].records == 0:
            assignment.position = assignment.pending.popleft().offset + 1
            self.messages -= 1
