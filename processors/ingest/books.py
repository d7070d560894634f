"""What became of each request that came: the ledger, and the ids that are known again. Pure.

A request is booked once, however often it comes, as long as its id is remembered.
"""

from collections import Counter, OrderedDict

from shadowlane.producers.ledger import Ledger, Row

Book = tuple[int, str, str]
"""Where the ledger has a request: its time (Unix milliseconds), service, route."""


class Books:
    """Args:
    instance: of this process, as it stands in the ledger.
    remembered: so many ids are known again, the latest ones.
    """

    def __init__(self, instance: str, remembered: int) -> None:
        self.ledger = Ledger(instance)
        self.repeated = 0
        self.without_content: Counter[str] = Counter()
        self._remembered = remembered
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._halves: OrderedDict[str, None] = OrderedDict()

    def knows(self, request_id: str) -> bool:
        """Whether this request is mirrored or sampled out already, and need not be sent."""
        return request_id in self._ended

    def comes(self, book: Book, request_id: str) -> None:
        if request_id not in self._halves:
            self.ledger.add(*book, Row.ELIGIBLE)

    def ends(self, book: Book, request_id: str, row: Row, reason: str = "") -> None:
        """It is mirrored, or sampled out."""
        self._book(book, request_id, row, reason)
        self._halves.pop(request_id, None)
        self._remember(self._ended, request_id)

    def half(self, book: Book, request_id: str) -> None:
        """Kafka has one of its records: it is mirrored, and where it comes again it is sent, and not booked."""
        self._book(book, request_id, Row.MIRRORED)
        self._remember(self._halves, request_id)

    def drops(self, book: Book, request_id: str, reason: str) -> None:
        """It is not mirrored; where it comes again, it is another try, and booked again."""
        self._book(book, request_id, Row.DROPPED, reason)

    def _book(self, book: Book, request_id: str, row: Row, reason: str = "") -> None:
        if request_id not in self._halves:
            self.ledger.add(*book, row, reason)

    def _remember(self, ids: "OrderedDict[str, None]", request_id: str) -> None:
        ids[request_id] = None
        while len(ids) > self._remembered:
            ids.popitem(last=False)
