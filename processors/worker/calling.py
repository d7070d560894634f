"""Asks a callable, in a process of its own: an attempt, whatever happens."""

from shadowlane.processors.callables.answers import answer_of
from shadowlane.processors.callables.pool import CallFailedError, CallLateError, CallLostError, Pool
from shadowlane.processors.worker import chat
from shadowlane.processors.worker.question import Attempt, Question
from shadowlane.schemas.events import Failure, Protocol


async def called(pool: Pool, question: Question) -> Attempt:
    """One call."""
    attempt, limit_s = Attempt(), question.target.timeout_s
    keywords = question.protocol == Protocol.CALL  # an observed function's arguments, by name
    try:
        value, attempt.latency_ms = await pool.call(question.payload, keywords=keywords, timeout_s=limit_s)
        attempt.answer = chat.whole(answer_of(value, question.protocol))
    except chat.BadAnswerError as exc:
        attempt.failure, attempt.message = Failure.BAD_RESPONSE, str(exc)
    except CallLateError as exc:
        attempt.failure, attempt.message = Failure.TIMEOUT, str(exc)
        attempt.latency_ms = limit_s * 1000
    except CallLostError as exc:
        attempt.failure, attempt.message, attempt.again = Failure.CONNECTION, str(exc), True
    except CallFailedError as exc:
        attempt.failure, attempt.message = Failure.EXCEPTION, str(exc)
    return attempt
