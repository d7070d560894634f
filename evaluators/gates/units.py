"""The units of a test, as SQL: each pair that was stored in a scope's time once, or each session.

**Each pair once.** The pairs stored in a time are found by the minmax index on ``stored_at``, and all rows of these by
the primary key, so that what a query costs goes by the pairs of its time, not by those before it. Among all rows of
a pair ``FINAL`` takes the one that counts, the first that was stored: was that before this time, the pair was
counted then.

**Sessions.** Requests of one session are alike, and taken one by one they would be evidence many times over: a false
alarm in 16 to 43% of stages, simulated. So a session is one unit, by its mean of each number. A session of W minutes
begins with a pair that none of the same id precedes within W; it takes the pairs until W later, and belongs to the
bucket in which it ends then. So it is settled once that bucket is closed, counts once, and 2 W before a time tell all
of what ends in it. What an id goes on asking after its W counts no more until it was silent for W: that is more of the
same session. Pairs without an id are units of their own, in the bucket in which they were stored: they have nothing
to wait for.

**Of what a session's mean is taken.** Of the pairs that have the number. Of errors on one side alone, those are the
session's discordant pairs: where the odds of an error are at most OR times the stable version's within each session,
then whichever pairs of it are discordant, each is the candidate's with probability at most OR/(1+OR), and so the mean
of them, given that there are any, is expected to be at most that too.
"""

from collections.abc import Sequence
from hashlib import md5

from shadowlane.evaluators.gates.buckets import ALL
from shadowlane.evaluators.gates.scope import Parameter, Scope, milliseconds

SETTINGS = "SETTINGS use_skip_indexes_if_final = 0"
"""For every query over `source`. An index that skips granules before FINAL would hide the row that counts."""

_ATTRIBUTE = "attributes[unhex({session_attribute:String})]"
# Service and route are every request's own, and sliced by as attributes are.
_VALUE = "multiIf(unhex(a) = 'route', toString(route), unhex(a) = 'service', toString(service), attributes[unhex(a)])"
_SLICE = f"concat(unhex(a), '=', toValidUTF8({_VALUE}))"


def source(columns: Sequence[str], scope: Scope) -> str:
    """A SELECT of ``columns`` (expressions over pair_log) of each pair that was stored in the scope's time, once.

    Of sessions, of those stored in the two session's lengths before it too. Its parameters: `scope_parameters`.
    """
    excluded = ""
    if scope.excluded:
        excluded = f"""
            AND NOT arrayExists(
                a -> has({{excluded:Array(String)}}, {digest_sql(_SLICE)}), {{excluded_by:Array(String)}}
            )"""
    return f"""SELECT
            {lines(columns, 12)}
        FROM pair_log FINAL
        WHERE rollout = {{rollout:String}} AND epoch = {{epoch:String}} AND outcome = 'scored'
            AND stored_at >= {{from_ms:Int64}} AND stored_at < {{until_ms:Int64}}
            AND pair_id IN (
                SELECT pair_id
                FROM pair_log
                WHERE rollout = {{rollout:String}} AND epoch = {{epoch:String}} AND outcome = 'scored'
                    AND stored_at >= {{from_ms:Int64}} AND stored_at < {{until_ms:Int64}}
            ){excluded}"""  # noqa: S608 — only names of our own are put in; what a user wrote is a parameter


def scope_parameters(scope: Scope) -> dict[str, Parameter]:
    """The parameters that `source`, `pair_units` and `session_units` name."""
    since = milliseconds(scope.since)
    parameters: dict[str, Parameter] = {
        "rollout": scope.rollout,
        "epoch": scope.epoch,
        "from_ms": since - (2 * scope.session_ms if scope.sessions_by else 0),
        "until_ms": milliseconds(scope.until),
        "size_ms": scope.bucket_s * 1000,
    }
    # Names in hexadecimal, and slices by their digest: whatever is in them, and however long they are.
    if scope.slices:
        parameters["sliced_by"] = [name.encode().hex() for name in scope.slices]
    if scope.excluded:
        parameters["excluded"] = [digest(name) for name in scope.excluded]
        by = dict.fromkeys(name.partition("=")[0] for name in scope.excluded)
        parameters["excluded_by"] = [name.encode().hex() for name in by]
    if scope.sessions_by:
        parameters |= {"since_ms": since, "session_ms": scope.session_ms}
        if scope.sessions_by != "key":
            parameters["session_attribute"] = scope.sessions_by.encode().hex()
    return parameters


def pair_units(columns: Sequence[str], scope: Scope) -> str:
    """Each pair as a unit: bucket_ms, unit_slice, unit_pairs, unit_first, unit_last, and ``columns``.

    A pair is in as many rows as it has slices, all traffic among them.
    """
    own = [
        f"{_bucket('stored_at')} AS bucket_ms",
        f"{_slices(scope)} AS unit_slice",
        "toUInt64(1) AS unit_pairs",
        "stored_at AS unit_first",
        "stored_at AS unit_last",
    ]
    return source([*own, *columns], scope)


def session_units(columns: Sequence[str], xs: Sequence[str], scope: Scope) -> str:
    """Each session, and each pair without one, as a unit: the columns of `pair_units`.

    ``columns`` are expressions over pair_log, ``xs`` the names that they are given. A session is in each slice that
    it has pairs in, by the mean of those. A pair without a session is one of its own, and due at once.
    """
    lone = "key IN ('', request_id)" if scope.sessions_by == "key" else f"{_ATTRIBUTE} = ''"
    session = "key" if scope.sessions_by == "key" else _ATTRIBUTE
    of = [f"{lone} AS is_lone", f"if(is_lone, pair_id, {session}) AS session", "stored_at AS at"]
    return f"""SELECT
        {_bucket("due")} AS bucket_ms,
        unit_slice,
        count() AS unit_pairs,
        min(at) AS unit_first,
        max(at) AS unit_last{
        "".join(
            f''',
        avg({x}) AS {x}'''
            for x in xs
        )
    }
    FROM (
        {source([*of, f"{_slices(scope)} AS unit_slice", *columns], scope)}
    ) AS asked
    INNER JOIN (
        SELECT
            is_lone,
            session,
            arraySort(groupUniqArray(at)) AS times,
            arrayJoin(
                arrayFilter(
                    (time, gap, number) -> number = 1 OR gap >= {{session_ms:Int64}},
                    times, arrayDifference(times), arrayEnumerate(times)
                )
            ) AS began,
            began + if(is_lone, 0, {{session_ms:Int64}}) AS due
        FROM (
        {source(of, scope)}
        )
        GROUP BY is_lone, session
    ) AS begun ON asked.is_lone = begun.is_lone AND asked.session = begun.session
    WHERE at >= began AND at < began + {{session_ms:Int64}}
        AND due >= {{since_ms:Int64}} AND due < {{until_ms:Int64}}
    GROUP BY asked.is_lone, asked.session, due, unit_slice"""  # noqa: S608 — as above


def digest_sql(slice_name: str) -> str:
    """`digest` of an expression."""
    return f"lower(hex(MD5({slice_name})))"


def digest(slice_name: str) -> str:
    """What stands for a slice's name in a parameter: names are as long as whoever sent the request liked."""
    return md5(slice_name.encode(), usedforsecurity=False).hexdigest()


def lines(items: Sequence[str], indent: int) -> str:
    return (",\n" + " " * indent).join(items)


def _bucket(time_ms: str) -> str:
    return f"intDiv({time_ms}, {{size_ms:Int64}}) * {{size_ms:Int64}}"


def _slices(scope: Scope) -> str:
    """All traffic, and each slice that the pair is in: of the attributes that it has."""
    if not scope.slices:
        return f"'{ALL}'"
    has_it = f"{_VALUE} != ''"
    named = f"arrayMap(a -> {_SLICE}, arrayFilter(a -> {has_it}, {{sliced_by:Array(String)}}))"
    return f"arrayJoin(arrayConcat(['{ALL}'], {named}))"
