"""How well redaction finds what was planted: ``python -m benchmarks.redaction``."""
