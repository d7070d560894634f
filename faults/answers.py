"""What must be seen of a candidate that answers badly, or not."""

from typing import Any

from faults.case import Case, Check, PromiseBrokenError


def throttled(every: int) -> Check:
    """Every n-th request was throttled to the end: it abstains, and says nothing against the candidate."""

    def check(case: Case, report: dict[str, Any]) -> str:
        return _abstained(case, report, -(-case.count // every), attempts=3)

    return check


def spent(first: int) -> Check:
    """From this request on the money was used up."""

    def check(case: Case, report: dict[str, Any]) -> str:
        return _abstained(case, report, case.count - first, attempts=1)

    return check


def _abstained(case: Case, report: dict[str, Any], count: int, *, attempts: int) -> str:
    case.exact(report)
    ledger = report["ledger"]
    if ledger["reasons"] != {"abstained": {"throttled": count}} or ledger["scored"] != case.count - count:
        raise PromiseBrokenError(f"{count} were throttled, the ledger: {ledger}")
    if report["verdict"] == "roll_back" or report["failures"]:
        raise PromiseBrokenError(f"throttling counts against it: {report['verdict']}, {report['failures']}")
    tries = case.stack.query(
        "SELECT min(candidate_attempts), max(candidate_attempts) FROM pair_log "
        "WHERE service = {service:String} AND outcome = 'abstained'",
        service=case.name,
    )
    if tries != [(attempts, attempts)]:
        raise PromiseBrokenError(f"asked {tries} times instead of {attempts}")
    return f"{count} abstained (throttled) after {attempts} attempts, {ledger['scored']} scored, {report['verdict']}"


def failed(error: str, every: int) -> Check:
    """Every n-th request is a failure of the candidate, of this kind, and no other is."""

    def check(case: Case, report: dict[str, Any]) -> str:
        case.exact(report)
        count = -(-case.count // every)
        if report["failures"] != {error: count} or report["ledger"]["scored"] != case.count:
            raise PromiseBrokenError(f"{count} failures expected: {report['failures']}, {report['ledger']}")
        return f"{count} failures ({error}) of {case.count} scored, {report['verdict']}"

    return check
