"""The broker and the store, killed, full, cut off and slowed down."""

from collections.abc import Callable

from faults.case import Case, Inject
from faults.proxy import Proxy

AWAY_S = 8.0


def broker_killed(case: Case) -> None:
    """SIGKILL, and started again on the same data."""
    case.await_sent(0.3)
    case.stack.broker.kill()
    case.await_sent(0.7)
    case.stack.broker.start()


def broker_stopped(case: Case) -> None:
    """SIGTERM, and started again on the same data."""
    case.await_sent(0.3)
    case.stack.broker.stop()
    case.stack.broker.start()


def one_of_three_killed(case: Case) -> None:
    """Each of the three in turn, the next as soon as the one before is back."""
    for node, share in enumerate((0.2, 0.5, 0.8)):
        case.await_sent(share)
        case.stack.broker.kill(node)
        case.await_stored(share + 0.1)  # with two of three, all goes on
        case.stack.broker.start(node)


def store_killed(case: Case) -> None:
    """SIGKILL, and back once more than a third of the traffic has passed meanwhile."""
    case.await_sent(0.3)
    case.stack.store.kill()
    case.await_sent(0.7)
    case.stack.store.start()


def _is_insert(data: bytes) -> bool:
    head = data[:4096]
    return b"POST " in head[:5] and b"pair_log" in head and b"INSERT" in head.upper()


def killed_in_an_insert(case: Case) -> None:
    """Half of an insert has reached the store as it is killed."""
    _trap(case, lambda data: len(data) // 2 if _is_insert(data) else None, None)


def killed_while_inserting(case: Case) -> None:
    """All of an insert has reached the store, and it is killed at once."""
    _trap(case, lambda data: len(data) if _is_insert(data) else None, None)


def killed_before_the_answer(case: Case) -> None:
    """The store has inserted, its answer is on its way and never arrives, and the store is killed."""
    asked: list[bytes] = []

    def sees_insert(data: bytes) -> None:
        if _is_insert(data):
            asked.append(data[:1])

    # The sink's connection alone inserts pairs, and the next answer that the store gives while one of its
    # inserts is open may be another connection's: then nothing is proved, but nothing is wrong either.
    _trap(case, sees_insert, lambda data: 0 if asked and b"X-ClickHouse-Summary" in data[:4096] else None)
    rows = case.stack.query(
        "SELECT count() FROM pair_log WHERE service = {service:String}", service=case.name
    )
    case.note(f"{rows[0][0]} rows stored at the kill, before a word of it came through")


def _trap(
    case: Case,
    to_server: Callable[[bytes], int | None],
    to_client: Callable[[bytes], int | None] | None,
) -> None:
    case.await_sent(0.3)
    proxy = case.stack.store_proxy
    proxy.to_server, proxy.to_client = to_server, to_client
    if not proxy.caught.wait(60):
        raise RuntimeError("no insert came by")
    case.stack.store.kill()
    proxy.heal()
    case.stack.store.start()


def all_proxies(case: Case) -> list[Proxy]:
    return [*case.stack.broker.proxies, case.stack.store_proxy]


def cut(which: Callable[[Case], list[Proxy]]) -> Inject:
    """Every connection is closed, and none taken, for a third of the traffic and until the sessions are over."""

    def inject(case: Case) -> None:
        case.await_sent(0.3)
        for proxy in which(case):
            proxy.cut()
        case.await_sent(0.9)
        for proxy in which(case):
            proxy.heal()

    return inject


def held(which: Callable[[Case], list[Proxy]]) -> Inject:
    """Connections stay open, and nothing passes: dropped packets."""

    def inject(case: Case) -> None:
        case.await_sent(0.3)
        for proxy in which(case):
            proxy.hold()
        case.await_sent(1.0)
        for proxy in which(case):
            proxy.heal()

    return inject


def slowed(which: Callable[[Case], list[Proxy]], *, delay_s: float = 0.0, bytes_per_s: float = 0.0) -> Inject:
    """From its first third on everything is late, or narrow, until all of it is through."""

    def inject(case: Case) -> None:
        case.await_sent(0.3)
        for proxy in which(case):
            proxy.delay_s, proxy.bytes_per_s = delay_s, bytes_per_s
        case.await_sent(1.0)
        case.await_stored(0.6, timeout=90)
        for proxy in which(case):
            proxy.heal()

    return inject


def brokers(case: Case) -> list[Proxy]:
    return case.stack.broker.proxies


def store(case: Case) -> list[Proxy]:
    return [case.stack.store_proxy]
