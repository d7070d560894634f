"""The corpus: planted values and hard negatives, each in its texts and media. The same with each run."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from benchmarks.redaction import texts, values
from benchmarks.redaction.values import Make
from shadowlane.schemas.answers import READERS
from shadowlane.schemas.events import Protocol

SEED = 20260301
TUNED, REPORTED = 0, 1
"""The halves of the texts: rules are made on the first, and measured on the second."""
EACH = 6  # values in each text and medium


@dataclass(frozen=True, slots=True)
class Sample:
    """``body``: what is redacted, a text or JSON. ``value``: what was planted in it; ``around`` the text without it."""

    kind: str
    half: int
    body: object
    value: str
    around: str


def planted() -> dict[str, tuple[Make, tuple[str, ...]]]:
    """What must go: by kind, how it is made, and where it stands."""
    found: dict[str, tuple[Make, tuple[str, ...]]] = {k: (m, texts.SECRET) for k, m in values.TOKENS.items()}
    found["private key"] = values.pem, texts.SECRET
    found["password in a URL"] = values.url_login, texts.SECRET
    found["password in a connection string"] = values.connection, texts.SECRET
    found["bearer token"] = (
        values.one_of(values.of(values.HEX, 32, 40), values.of(values.URLSAFE, 43)),
        texts.BEARER,
    )
    found["basic login"] = (
        lambda rng: values.basic(rng).removeprefix("Basic "),
        tuple(text.replace("earer", "asic") for text in texts.BEARER[:3]) + texts.BEARER[:0],
    )
    found["secret by its name, in text"] = values.password, texts.NAMED
    found["secret by its name, in JSON"] = values.password, texts.NAMED_JSON
    found["e-mail"] = values.email, texts.EMAIL
    found |= {kind: (make, texts.PHONE) for kind, make in values.PHONES.items()}
    found["card"] = values.card, texts.CARD
    found["IBAN"] = values.iban, texts.IBAN
    found["IP address"] = (
        values.one_of(
            lambda rng: ".".join(str(rng.randrange(1, 255)) for _ in range(4)),
            lambda rng: "2001:db8:" + ":".join(f"{rng.randrange(1, 65536):x}" for _ in range(6)),
        ),
        texts.SECRET,
    )
    found["address, in a sentence"] = (lambda rng: rng.choice(texts.STREETS)), texts.ADDRESS_PROSE
    found["address, by the name of its member"] = (lambda rng: rng.choice(texts.STREETS)), texts.ADDRESS_JSON
    return found


def innocent() -> dict[str, Make]:
    """What must stay."""
    of, form, one_of, HEX = values.of, values.form, values.one_of, values.HEX
    return {
        "git hash": one_of(of(HEX, 40), of(HEX, 7), of(HEX, 12)),
        "SHA-256": of(HEX, 64),
        "UUID": values.uuid,
        "version": form("N.#.#", "v1.N#.#", "N.#.#.#-rc1", "202N.#.#", "1.N.#.#.#"),
        "order number": form(
            *("N#########", "N###########", "ORD-202N-######", "1Z999AA1########", "N#######-#####"),
            "N##############",
        ),
        "timestamp": form(
            *("202N-1#-0#T1#:2#:3#Z", "17########", "17###########"),
            *("0N/1#/202N", "1N.0#.202N 1#:3#", "202N-0#-1#"),
        ),
        "image in base64": values.image,
        "colour": one_of(lambda rng: "#" + of(HEX, 6)(rng), lambda rng: f"rgb({rng.randrange(256)}, 17, 88)"),
        "price": form("$1,N##.##", "N.###,## €", "£N#.##", "1N ### ### ₽", "USD N##,###,###"),
        "ISBN": values.isbn,
        "barcode": values.barcode,
        "number like a card, check digit wrong": values.no_card,
        "number like an IBAN, checksum wrong": values.no_iban,
        "large number": form("N# ### ### ###", "N,###,###,###", "3.1415926535897932384#", "N##############"),
        "place on Earth": form("5N.5#####, 13.4#####", "-3N.8#####,151.2#####"),
        "MAC address": lambda rng: ":".join(f"{rng.randrange(256):02x}" for _ in range(6)),
        "name with hyphens": lambda rng: "-".join(rng.choices(values.WORDS, k=5)),
        "path": lambda rng: "/".join(["", *rng.choices(values.WORDS, k=4), "main.py:17"]),
    }  # fmt: skip


def media(rng: random.Random, text: str) -> Iterator[object]:
    """The text as it may come: alone, in a chat's body, in the arguments of a tool, and in pieces of a stream."""
    yield text
    yield {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]}
    yield {"tool_calls": [{"function": {"name": "note", "arguments": orjson.dumps({"text": text}).decode()}}]}
    yield streamed(rng, text)


def streamed(rng: random.Random, text: str) -> str:
    """What the mirror reads of an answer that came in pieces of one to nine characters."""
    pieces, at = [], 0
    while at < len(text):
        size = rng.randrange(1, 10)
        event = {"choices": [{"index": 0, "delta": {"content": text[at : at + size]}, "finish_reason": None}]}
        pieces.append(b"data: " + orjson.dumps(event) + b"\n\n")
        at += size
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return (
        READERS[Protocol.OPENAI_CHAT]
        .stream([*pieces, b"data: " + orjson.dumps(end) + b"\n\n", b"data: [DONE]\n\n"])
        .output
    )


def positives() -> Iterator[Sample]:
    """Everything that is planted."""
    for kind, (make, places) in planted().items():
        yield from _samples(kind, make, places)


def negatives() -> Iterator[Sample]:
    """Everything that looks like it."""
    for kind, make in innocent().items():
        yield from _samples(kind, make, texts.INNOCENT)
    rng = random.Random(SEED)
    for at, text in enumerate(texts.PROSE):
        for body in media(rng, text):
            yield Sample("prose and code about keys, phones, numbers", at % 2, body, text, "")


def _samples(kind: str, make: Make, places: tuple[str, ...]) -> Iterator[Sample]:
    rng = random.Random(f"{SEED}{kind}")
    for at, place in enumerate(places):
        for _ in range(EACH):
            value = make(rng)
            is_json = place.startswith("{{")
            text = place.format(orjson.dumps(value).decode()[1:-1] if is_json else value)
            bodies = [orjson.loads(text), text, {"arguments": text}] if is_json else media(rng, text)
            for body in bodies:
                yield Sample(kind, at % 2, body, value, place.replace("{}", " "))
