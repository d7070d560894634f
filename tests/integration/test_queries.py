"""docs/queries.md and docs/tables.md against a real store: every query runs, and says what is so."""

import re
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from pydantic import SecretStr

from shadowlane.processors.store import connect, insert_lines, migrate
from shadowlane.schemas.codec import TIME_END, encode
from shadowlane.schemas.config import ClickHouse
from shadowlane.schemas.events import LedgerCell, Pair
from tests.seeds import EPOCH, REQUESTS, ROLLOUT, SERVICE, Day, day, is_worse, twice_in_any_order
from tests.services import ClickHouseAddress

DOCS = Path(__file__).parents[2] / "docs"
START = datetime(2026, 3, 2, tzinfo=UTC)
END = START + timedelta(days=1)
ONE_DAY = day(START)
Rows = list[dict[str, Any]]


def documented() -> list[tuple[str, str]]:
    """(heading, query) of each query of the page; a second one under a heading is "heading (2)"."""
    found: list[tuple[str, str]] = []
    seen: Counter[str] = Counter()
    for section in re.split(r"^## ", (DOCS / "queries.md").read_text(), flags=re.M)[1:]:
        heading = section.partition("\n")[0]
        for query in re.findall(r"^```sql\n(.*?)^```", section, flags=re.M | re.S):
            seen[heading] += 1
            number = f" ({seen[heading]})" if seen[heading] > 1 else ""
            found.append((heading + number, query))
    return found


QUERIES = dict(documented())


def new_store(clickhouse: ClickHouseAddress) -> tuple[Client, ClickHouse]:
    settings = ClickHouse(
        host=clickhouse.host,
        port=clickhouse.port,
        username=clickhouse.username,
        password=SecretStr(clickhouse.password),
        database=f"queries_{uuid.uuid4().hex[:12]}",
    )
    client = connect(settings)
    migrate(client, settings.database)
    return client, settings


def insert(client: Client, settings: ClickHouse, made: Day, *, block: int, copies: int = 0) -> None:
    logs = (
        ("pair_log", made.pairs),
        ("noise_log", made.noise),
        ("ledger_log", made.cells),
        ("dead_letter_log", made.letters),
    )
    for table, records in logs:
        lines = [encode(record) for record in records]
        if copies:
            lines = twice_in_any_order(lines, copies)
        for at in range(0, len(lines), block):
            insert_lines(
                client, settings, table, b"\n".join(lines[at : at + block]), f"{copies}:{table}:{at}"
            )


def ask(client: Client, query: str) -> Rows:
    """The rows of a query, at the end of the seeded day."""
    query = query.replace("now()", f"toDateTime('{END:%Y-%m-%d %H:%M:%S}', 'UTC')")
    return list(client.query(query).named_results())


@pytest.fixture(scope="module")
def store(clickhouse: ClickHouseAddress) -> Iterator[Client]:
    client, settings = new_store(clickhouse)
    insert(client, settings, ONE_DAY, block=100_000)
    yield client
    client.command(f"DROP DATABASE {settings.database}")


@pytest.mark.parametrize("heading", QUERIES)
def test_every_query_has_an_answer(store: Client, heading: str) -> None:
    assert ask(store, QUERIES[heading])


@pytest.mark.parametrize("seed", [1, 2])
def test_everything_twice_in_any_order_changes_no_answer(
    store: Client, clickhouse: ClickHouseAddress, seed: int
) -> None:
    client, settings = new_store(clickhouse)
    insert(client, settings, ONE_DAY, block=700, copies=seed)
    for heading, query in QUERIES.items():
        again, once = ask(client, query), ask(store, query)
        if heading == "Is anything counted twice?":
            assert again[0].pop("rows_stored") >= once[0].pop("rows_stored")
        assert rounded(again) == rounded(once), heading
    client.command(f"DROP DATABASE {settings.database}")


def rounded(rows: Rows) -> Rows:
    """Sums of floats depend on their order in the last digits."""
    return [{k: round(v, 9) if isinstance(v, float) else v for k, v in row.items()} for row in rows]


def test_the_hour_in_which_it_begins(store: Client) -> None:
    rows = ask(store, QUERIES["Since when is it worse?"])
    assert sum(row["pairs"] for row in rows) == len(ONE_DAY.scored)
    assert len(rows) == 24
    before, after = rows[:12], rows[12:]
    assert min(row["difference"] for row in before) > max(row["difference"] for row in after)
    for row in rows:
        first = row["hour"].replace(tzinfo=UTC)
        mine = [
            pair
            for pair in ONE_DAY.scored
            if 0 <= pair.ts - first.timestamp() * 1000 < timedelta(hours=1).total_seconds() * 1000
        ]
        assert row["pairs"] == len(mine)
        assert row["candidate"] == pytest.approx(mean(p.candidate_quality or 0.0 for p in mine), abs=6e-4)


def test_the_slice_that_regressed_is_on_top(store: Client) -> None:
    first, second = ask(store, QUERIES["Which part of the traffic is it?"])[:2]
    assert {(first["name"], first["value"]), (second["name"], second["value"])} == {
        ("tenant", "globex"),
        ("language", "de"),
    }
    assert first["z"] < -3
    both = ask(store, QUERIES["Which part of the traffic is it? (2)"])[0]
    assert (both["tenant"], both["language"]) == ("globex", "de")
    turned = ask(store, QUERIES["What changed between two spans of time?"])
    assert (turned[0]["tenant"], turned[0]["language"]) == ("globex", "de")
    assert turned[0]["change"] < -0.3
    assert all(row["change"] > -0.05 for row in turned[1:])


def test_the_worst_pairs_are_the_regressions(store: Client) -> None:
    rows = ask(store, QUERIES["Show me the worst pairs"])
    assert len(rows) == 20
    assert {(row["attributes"]["tenant"], row["attributes"]["language"]) for row in rows} == {
        ("globex", "de")
    }
    assert all(row["asked"].startswith("Ticket ") for row in rows)


def test_prompts(store: Client) -> None:
    rows = ask(store, QUERIES["Which prompts does it treat worse?"])
    assert rows[0]["much_worse"] > 0
    answered = [pair for pair in ONE_DAY.scored if not pair.candidate_error]
    asked = rows[0]["asked"]
    mine = [pair for pair in answered if pair.request["messages"][-1]["content"] == asked]
    assert rows[0]["pairs"] == len(mine)
    assert rows[0]["much_worse"] == sum(is_worse(pair, START) for pair in mine)


def test_errors(store: Client) -> None:
    rows = ask(store, QUERIES["Which errors, and when?"])
    by_kind: Counter[str] = Counter()
    for row in rows:
        by_kind[row["error"]] += row["pairs"]
    assert by_kind == Counter(pair.candidate_error for pair in ONE_DAY.scored if pair.candidate_error)
    (alone,) = ask(store, QUERIES["Does it fail where the stable version does not?"])
    assert alone["candidate_alone_failed"] == by_kind.total()
    assert alone["both_answered"] == len(ONE_DAY.scored) - by_kind.total()
    assert alone["stable_alone_failed"] == alone["both_failed"] == 0


def test_latency_cost_and_json(store: Client) -> None:
    for row in ask(store, QUERIES["Is it slower?"]):
        assert row["median_difference"] == 100
        assert [
            c - s
            for c, s in zip(*(row[f"{arm}_p50_p95_p99"] for arm in ("candidate", "stable")), strict=True)
        ] == [
            100,
            100,
            100,
        ]
    (cost,) = ask(store, QUERIES["What does it cost?"])
    assert cost["ratio"] == 0.5
    assert cost["difference_per_1000_requests"] == pytest.approx(-1.0)
    worst, best = ask(store, QUERIES["Is its JSON still valid?"])
    broken = sum(pair.candidate_scores.get("json_valid") == 0 for pair in ONE_DAY.scored)
    assert (worst["route"], worst["newly_broken"]) == ("/summary", broken)
    assert (best["route"], best["newly_broken"]) == ("/reply", 0)


def test_scores_that_are_missing_are_no_zeros(store: Client) -> None:
    rows = {row["scorer"]: row for row in ask(store, QUERIES["Which scorer says so?"])}
    fuzzy = [pair.candidate_scores["fuzzy"] for pair in ONE_DAY.scored if pair.candidate_scores]
    assert rows["fuzzy"]["only_candidate"]
    assert rows["fuzzy"]["stable"] is None
    assert rows["fuzzy"]["candidate"] == pytest.approx(mean(fuzzy), abs=6e-5)
    assert not rows["json_valid"]["only_candidate"]


def test_the_ledger_adds_up(store: Client) -> None:
    rows = ask(store, QUERIES["Does the ledger add up?"])
    assert {row["in_flight"] for row in rows} == {0}
    assert sum(row["eligible"] for row in rows) == REQUESTS
    for name in ("sampled_out", "dropped", "dead_lettered", "unpaired", "abstained", "scored"):
        assert sum(row[name] for row in rows) == sum(n for (key, _), n in ONE_DAY.rows.items() if key == name)
    of_epoch = {
        (row["row"], row["reason"]): row["requests"]
        for row in ask(store, QUERIES["Does the ledger add up? (2)"])
    }
    assert {key: of_epoch[key] for key in ONE_DAY.rows} == dict(ONE_DAY.rows)
    assert "other_epoch" not in {row for row, _ in of_epoch}


def test_the_evidence_is_that_of_the_pairs(store: Client) -> None:
    rows = ask(store, QUERIES["What does the test see?"])
    buckets: dict[int, list[float]] = {}
    for pair in ONE_DAY.scored:
        assert pair.quality_difference is not None
        buckets.setdefault(pair.completed_at // 60_000, []).append(pair.quality_difference)
    assert [row["pairs"] for row in rows] == [len(buckets[at]) for at in sorted(buckets)]
    for row, at in zip(rows, sorted(buckets), strict=True):
        assert row["difference_sum"] == pytest.approx(sum(buckets[at]), abs=1e-9)
        assert row["difference_squares"] == pytest.approx(sum(x * x for x in buckets[at]), abs=1e-9)


# --- the ledger's rules, one by one -------------------------------------------------------------------------


def pair(request: str, outcome: str, *, epoch: str = EPOCH, completed_at: int = 5, **fields: Any) -> Pair:
    known: dict[str, Any] = {
        "stage": "shadow",
        "service": SERVICE,
        "route": "/reply",
        "ts": int(START.timestamp() * 1000),
    }
    return Pair(
        pair_id=f"{request}:{ROLLOUT}:{epoch}",
        request_id=request,
        rollout=ROLLOUT,
        epoch=epoch,
        completed_at=completed_at,
        outcome=outcome,
        **known | fields,
    )


def ledger(client: Client, of: str = "ledger") -> dict[tuple[str, str], int]:
    rows = ask(client, f"SELECT row, reason, sum(requests) AS n FROM {of} GROUP BY row, reason")
    return {(row["row"], row["reason"]): row["n"] for row in rows}


def letter_of(request: str) -> Any:
    letter = next(one for one in ONE_DAY.letters if one.request_id)
    copy = type(letter)(**{name: getattr(letter, name) for name in letter.__slots__})
    copy.request_id, copy.dead_letter_id = request, f"topic:0:0:{request}"
    return copy


def test_each_request_is_in_one_row(clickhouse: ClickHouseAddress) -> None:
    client, settings = new_store(clickhouse)
    made = Day(START)
    made.pairs = [
        pair("a", "unpaired", reason="no_shadow"),
        pair("a", "scored"),
        pair("a", "abstained", reason="throttled"),
        pair("b", "abstained", reason="throttled"),
        pair("b", "unpaired", reason="no_shadow"),
        pair("c", "unpaired", reason="no_shadow"),
        pair("d", "unpaired", reason="no_shadow"),
        pair("e", "scored", epoch="other"),
        pair("f", "scored", epoch="other"),
        pair("f", "unpaired", reason="no_shadow"),
        pair("g", "scored", epoch="other"),
        pair("g", "scored"),
    ]
    made.letters = [letter_of(request) for request in "abcx"]
    made.letters.append(letter_of(""))
    insert(client, settings, made, block=3, copies=5)
    assert ledger(client) == {
        ("scored", ""): 4,  # a, e, f, g: whatever the epoch
        ("abstained", "throttled"): 1,  # b
        ("dead_lettered", "worker"): 2,  # c, which waited in vain too; x, of which nothing else is known
        ("unpaired", "no_shadow"): 1,  # d
        ("unreadable", "worker"): 1,  # of no known request
    }
    assert ledger(client, f"ledger_of(rollout = '{ROLLOUT}', epoch = '{EPOCH}')") == {
        ("scored", ""): 2,  # a, g
        ("abstained", "throttled"): 1,
        ("dead_lettered", "worker"): 2,
        ("unpaired", "no_shadow"): 2,  # d, f
        ("other_epoch", "scored"): 1,  # e
        ("unreadable", "worker"): 1,
    }
    places = ask(client, "SELECT service, requests FROM ledger WHERE row = 'dead_lettered' ORDER BY service")
    assert places == [{"service": "", "requests": 1}, {"service": SERVICE, "requests": 1}]


def test_a_later_delivery_changes_nothing(clickhouse: ClickHouseAddress) -> None:
    client, settings = new_store(clickhouse)
    made = Day(START)
    made.pairs = [
        pair("a", "scored", completed_at=9, candidate_output="stored first"),
        pair("a", "scored", completed_at=8, candidate_output="complete first"),
        pair("a", "unpaired", completed_at=1, reason="no_shadow"),
        pair("a", "scored", completed_at=TIME_END - 1, candidate_output="last"),
        pair("a", "scored", completed_at=10, candidate_output="later"),
    ]
    insert(client, settings, made, block=1)
    assert ask(client, "SELECT candidate_output FROM pairs") == [{"candidate_output": "stored first"}]
    assert ask(client, "SELECT count() AS n FROM unpaired") == [{"n": 0}]


def test_of_a_mirrors_cell_the_largest_count(clickhouse: ClickHouseAddress) -> None:
    client, settings = new_store(clickhouse)
    made = Day(START)
    minute = int(START.timestamp() * 1000)
    for instance, counts in (("one", (3, 7, 5)), ("two", (2,))):
        for count in counts:
            made.cells.append(
                LedgerCell(
                    instance=instance, minute=minute, service=SERVICE, route="/", row="eligible", count=count
                )
            )
    insert(client, settings, made, block=1)
    assert ledger(client) == {("eligible", ""): 9}


# --- the ledger by slice -------------------------------------------------------------------------------------

RESOLVED = ("dead_lettered", "unpaired", "abstained", "scored", "other_epoch")


@pytest.mark.parametrize("attribute", ["language", "tenant", "no such", "route", "service"])
@pytest.mark.parametrize("of", [("", ""), (ROLLOUT, EPOCH), (ROLLOUT, "other")])
def test_the_slices_add_up_to_the_ledger_and_each_by_itself(
    store: Client, attribute: str, of: tuple[str, str]
) -> None:
    rollout, epoch = f"rollout = '{of[0]}'", f"epoch = '{of[1]}'"
    sliced = ask(store, f"SELECT * FROM ledger_by_slice(attribute = '{attribute}', {rollout}, {epoch})")
    whole = ask(store, f"SELECT * FROM ledger_of({rollout}, {epoch})")
    key = ("minute", "service", "route", "rollout", "epoch", "row", "reason")
    sums: Counter[tuple[Any, ...]] = Counter()
    for row in sliced:
        sums[tuple(row[name] for name in key)] += row["requests"]
    assert +sums == Counter({tuple(row[name] for name in key): row["requests"] for row in whole})
    in_flight: Counter[tuple[Any, ...]] = Counter()
    for row in sliced:
        place = tuple(row[name] for name in ("minute", "service", "route", "value", "known"))
        if row["row"] == "eligible":
            in_flight[place] += row["requests"]
        elif row["row"] in ("sampled_out", "dropped", *RESOLVED):
            in_flight[place] -= row["requests"]
    open_ones = {place: n for place, n in in_flight.items() if place[4] and n}
    if attribute in ("route", "service"):  # of a dead letter alone, not even these are known
        assert sum(open_ones.values()) == sum(
            row["requests"] for row in whole if row["row"] == "dead_lettered" and not row["service"]
        )
    else:
        assert open_ones == {}


def test_a_slice_has_what_its_requests_became(store: Client) -> None:
    rows = {(row["value"], row["known"]): row for row in ask(store, QUERIES["Does it add up in each slice?"])}
    scored = Counter(pair.attributes.get("language", "") for pair in ONE_DAY.scored)
    assert {value: row["scored"] for (value, known), row in rows.items() if known and row["scored"]} == scored
    unknown = rows["", False]
    assert unknown["scored"] == unknown["in_flight"] == 0
    assert unknown["eligible"] == unknown["sampled_out"] + unknown["dropped"] + unknown["dead_lettered"] > 0
    for (_, known), row in rows.items():
        assert not known or row["in_flight"] == 0


# --- docs/tables.md -----------------------------------------------------------------------------------------


def test_every_table_and_column_is_documented(store: Client) -> None:
    described: dict[str, dict[str, str]] = {}
    for section in re.split(r"^## ", (DOCS / "tables.md").read_text(), flags=re.M)[1:]:
        name = section.partition("\n")[0].strip("`")
        rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \| (.+) \|$", section, flags=re.M)
        described[name] = {column: kind for column, kind, words in rows if words.strip()}
    tables = ask(store, "SELECT name FROM system.tables WHERE database = currentDatabase()")
    there: dict[str, dict[str, str]] = {row["name"]: {} for row in tables}
    for row in ask(store, "SELECT table, name, type FROM system.columns WHERE database = currentDatabase()"):
        there[row["table"]][row["name"]] = row["type"]
    assert described == there
