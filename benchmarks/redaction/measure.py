"""What redaction finds of the corpus, what it leaves, and what it takes that it should not."""

import gzip
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from benchmarks.redaction.corpus import Sample
from shadowlane.producers.redaction import redact_json, redact_text

_PART = re.compile(r"[^\W_]{4,}")
_WORD = re.compile(r"[^\W\d_]{5,}")
MARK = re.compile(r"\[(private key|token|login|secret|email|card|iban|ssn|phone|ip|address)\]")
RECORDED = "SHADOWLANE_RECORDED_MODELS"


@dataclass(slots=True)
class Found:
    """Of one kind: how many there are, how many were found (of negatives: changed), and how many of those took a word
    of the text around along."""

    samples: int = 0
    found: int = 0
    too_much: int = 0
    examples: list[str] = field(default_factory=list)
    """Of what went wrong."""

    @property
    def share(self) -> float:
        return self.found / self.samples


def redacted(body: object) -> str:
    """As it would go out, as text."""
    return redact_text(body) if isinstance(body, str) else plain(redact_json(body))


def plain(value: object) -> str:
    """The texts of a JSON value; JSON in them is read too."""
    if isinstance(value, str):
        if value[:1] in ("{", "["):
            try:
                return plain(orjson.loads(value))
            except ValueError:
                pass
        return value
    if isinstance(value, dict):
        return "\n".join(f"{name}\n{plain(member)}" for name, member in value.items())
    if isinstance(value, list):
        return "\n".join(map(plain, value))
    return json.dumps(value)


def left(sample: Sample, out: str) -> bool:
    """Whether a part of the value, four letters or digits or more, is still there."""
    if not sample.value.isascii() and sample.value in out:
        return True
    parts = set(_PART.findall(_secret_part(sample))) or {sample.value}
    return any(part in out and part not in sample.around for part in parts)


def _secret_part(sample: Sample) -> str:
    """Of a connection string or a URL the password alone has to go, of a bot's token what is behind its number."""
    if sample.kind == "password in a connection string":
        found = re.search(r"(?i)(?:password|pwd|accountkey)=([^;\s]+)", sample.value)
        return found[1] if found else sample.value
    if sample.kind == "password in a URL":
        return sample.value.split("@")[0].rsplit(":", 1)[1]
    if sample.kind == "private key":
        return sample.value.split("-----")[2]
    if sample.kind == "Telegram bot":
        return sample.value.split(":")[1]
    if sample.kind == "Slack webhook":
        return sample.value.rsplit("/", 1)[1]
    if sample.kind == "e-mail":
        return sample.value.split("@")[0]
    return sample.value


def recall(samples: Iterable[Sample]) -> dict[str, Found]:
    kinds: dict[str, Found] = {}
    for sample in samples:
        out = redacted(sample.body)
        found = kinds.setdefault(sample.kind, Found())
        found.samples += 1
        if left(sample, out):
            found.examples.append(str(sample.body))
        else:
            found.found += 1
        if any(word not in out for word in _WORD.findall(sample.around.replace("\\n", " "))):
            found.too_much += 1
    return kinds


def changed(samples: Iterable[Sample]) -> dict[str, Found]:
    kinds: dict[str, Found] = {}
    for sample in samples:
        before = sample.body if isinstance(sample.body, str) else plain(sample.body)
        found = kinds.setdefault(sample.kind, Found())
        found.samples += 1
        if redacted(sample.body) != before:
            found.found += 1
            found.examples.append(f"{before} -> {redacted(sample.body)}")
    return kinds


def recorded() -> Iterator[str]:
    """Real prompts and real models' answers, from the folder that SHADOWLANE_RECORDED_MODELS names; else nothing."""
    folder = os.environ.get(RECORDED)
    if not folder:
        return
    for path in sorted([Path(folder, "prompts.jsonl.gz"), *Path(folder, "models").glob("*.jsonl.gz")]):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                yield row.get("prompt") or row.get("output") or ""


def of_real_texts() -> tuple[int, int, int, Counter[str], list[str]]:
    """(texts, their characters, how many of them were changed, marks by kind, what was taken)."""
    texts = size = hit = 0
    marks: Counter[str] = Counter()
    taken = []
    for text in recorded():
        texts += 1
        size += len(text)
        out = redact_text(text)
        if out != text:
            hit += 1
            marks += Counter(MARK.findall(out)) - Counter(MARK.findall(text))
            taken.append(_difference(text, out))
    return texts, size, hit, marks, taken


def _difference(text: str, out: str) -> str:
    start = next(at for at, (a, b) in enumerate(zip(text, out, strict=False)) if a != b)
    return f"{text[max(0, start - 40) : start + 40]!r} -> {out[max(0, start - 40) : start + 30]!r}"
