"""Secrets and personal data out of what is mirrored, before it is queued for Kafka. Pure.

What is found is replaced by its kind in square brackets: ``[email]``, ``[token]``, ``[card]``; with a key, by its kind
and a token that is the same for the same value: ``[email#kqzvbtrpam]``. JSON is redacted as JSON: its strings one by
one, the values of members such as ``password`` whole, and text that is itself JSON (the arguments of a tool call, a
JSON answer) likewise; so it stays JSON. Redacting twice changes nothing more. What is found and what is missed is
measured in docs/redaction.md.
"""

from shadowlane.producers.redaction.apply import Lists, Rules, redact_json, redact_text
from shadowlane.producers.redaction.marks import KINDS, Marks

__all__ = ["KINDS", "Lists", "Marks", "Rules", "redact_json", "redact_text"]
