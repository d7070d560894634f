"""The rules of :mod:`shadowlane.producers.redaction`: what a secret or a personal datum looks like in text.

Each rule is a cheap guard and a function text -> text. Every pattern can only start where a run of its
characters starts (the look-behinds), and repeats without overlap, so its cost is linear in the text; rules
with a checksum (cards, IBANs) or a parser (IP addresses) use it to leave other numbers alone.
"""

import ipaddress
import re
from collections.abc import Callable


class Look:
    """What the guards look at: made once for a text, since nearly all texts hold nothing.

    A search for a few characters costs half a microsecond a kilobyte, one for a single character a tenth of that (in
    a str; in bytes Python does it five times as slowly), a translation of all bytes as much as the former. So the
    guards ask for single characters first, and for what only a translation shows: ``words`` is the text's UTF-8 with
    every digit as ``0``, every other byte that tokens are made of as ``x``, and all else blank.
    """

    __slots__ = ("_run", "_shape", "_squeezed", "digit", "foreign", "raw", "text", "words")
    foreign: bool
    digit: bool
    words: str

    def __init__(self, text: str) -> None:
        self.text = text
        self.raw = raw = text.encode("utf-8", "replace")
        self.words = words = raw.translate(_WORDS).decode("latin-1")
        # Other scripts have digits of their own, which that does not show.
        self.foreign = (
            not text.isascii() and _FOREIGN_DIGIT.search(raw.translate(None, _ASCII).decode()) is not None
        )
        self.digit = "0" in words or self.foreign
        self._shape = ""
        self._squeezed = ""
        self._run = ""

    @property
    def shape(self) -> str:
        """The text's UTF-8 with every digit as ``0`` and every capital as ``A``."""
        if not self._shape:
            self._shape = self.raw.translate(_SHAPE).decode("latin-1")
        return self._shape

    @property
    def squeezed(self) -> str:
        """The text in small letters, without blanks and quotes, and with ``:`` for each ``=``."""
        if not self._squeezed:
            raw = self.raw
            if not self.text.isascii() and (b"\xc4" in raw or b"\xc5" in raw or b"\xe2\x84\xaa" in raw):
                raw = self.text.translate(_LIKE_ASCII).encode("utf-8", "replace")
            self._squeezed = raw.translate(_SMALL, b" \t\"'").decode("latin-1")
        return self._squeezed

    @property
    def run(self) -> str:
        """The shape without what may stand between the digits of one number."""
        if not self._run:
            self._run = self.raw.translate(_SHAPE, b" .()/-").decode("latin-1")
        return self._run


_ASCII = bytes(range(128))
_FOREIGN_DIGIT = re.compile(r"\d")
_SHAPE = bytes(
    ord("0") if chr(n).isdigit() and n < 128 else ord("A") if 65 <= n <= 90 else n for n in range(256)
)
_WORDS = bytes(
    ord("0")
    if 48 <= n <= 57
    else ord("x")
    if chr(n).isascii() and (chr(n).isalnum() or chr(n) in "_-+/=.")
    else 32
    for n in range(256)
)
_SMALL = bytes(range(256)).lower().replace(b"=", b":")
_LIKE_ASCII = {0x130: "i", 0x131: "i", 0x17F: "s", 0x212A: "k"}
"""The letters that a pattern without case takes for those of ASCII."""

Rule = tuple[Callable[[Look], object], Callable[[str], str]]
"""(may the text hold one at all, text -> text)."""


_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")


def _private_keys(text: str) -> str:
    # Not one pattern: a BEGIN without its END would be scanned to the text's end once for each BEGIN.
    out, at = [], 0
    while (begin := _BEGIN.search(text, at)) is not None:
        end = _END.search(text, begin.end())
        out += [text[at : begin.start()], "[private key]"]
        at = end.end() if end else len(text)
    return "".join(out) + text[at:]


_TOKEN = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"sk-[A-Za-z0-9_-]{16,}"  # OpenAI, Anthropic and their likes
    r"|[srp]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{16,}"  # Stripe
    r"|(?:AKIA|ASIA|AROA|AIDA)[0-9A-Z]{16}(?![0-9A-Za-z])"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,}"
    r"|glpat-[A-Za-z0-9_-]{20,}"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}"  # Slack
    r"|AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,}"  # Google
    r"|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{30,}|dop_v1_[a-f0-9]{40,}"
    r"|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"  # SendGrid
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"  # JSON web tokens
    r")"
)
# By a character that each of them has: where it is missing, none of them is there.
_TOKEN_STARTS = {
    "-": ("sk-", "glpat-", "xox", "xapp-", "GOCSPX-", "pypi-"),
    "_": (
        *("k_live_", "k_test_", "whsec_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        *("hf_", "npm_", "dop_v1_"),
    ),
    ".": ("ya29.", "SG.", "eyJ"),
    "A": ("AKIA", "ASIA", "AROA", "AIDA", "AIza"),
}
_TOKEN_SHORTEST = 15  # xoxb-0123456789
_LONG = "x" * _TOKEN_SHORTEST


def _may_hold_token(look: Look) -> bool:
    shape = look.words.replace("0", "x") if look.digit else look.words
    at = shape.find(_LONG)
    if at < 0:
        return False
    words = []
    while at >= 0:
        end = shape.find(" ", at)
        end = len(shape) if end < 0 else end
        words.append(look.raw[at:end])
        at = shape.find(_LONG, end)
    joined = b" ".join(words).decode("latin-1")
    return any(
        start in joined for sign, starts in _TOKEN_STARTS.items() if sign in joined for start in starts
    )


_SLACK_HOOK = re.compile(r"(?<=hooks\.slack\.com/)(?:services|workflows|triggers)/[A-Za-z0-9/_-]{8,}")

_AUTHORIZATION = re.compile(
    r"(?<![A-Za-z0-9])(?i:(bearer)[ \t]{1,8}(?=[A-Za-z._~+/=-]{0,40}\d)|(authorization:?[ \t]{0,8}basic)[ \t]{1,8})"
    r"[A-Za-z0-9._~+/=-]{12,}"
)


def _may_hold_authorization(look: Look) -> bool:
    if not (look.digit or "z" in look.text or "Z" in look.text):
        return False  # "Bearer" is followed by a digit, and the other by "authorization"
    squeezed = look.squeezed
    return (look.digit and "bearer" in squeezed) or ("basic" in squeezed and "authorization" in squeezed)


def _authorization(match: re.Match[str]) -> str:
    return f"{match.group(1) or match.group(2)} [token]"


_URL_LOGIN = re.compile(r"(?<=://)[^\s/:@\[\]\"'<>]{1,200}:[^\s/@\"'<>]{1,200}@")

_ASSIGNED = re.compile(
    r"(?<![A-Za-z0-9$])(?P<name>(?:[A-Za-z0-9]{1,30}[_.-]){0,4}"
    r"(?i:password|passwd|passphrase|pwd|secret(?:[_ -]?(?:access[_ -]?)?key)?|api[_ -]?key|access[_ -]?key"
    r"|private[_ -]?key|(?:access|auth|refresh|session|bearer)[_ -]?token|token))"
    r"(?P<between>[\"']?[ \t]{0,8}(?P<sign>=|:|(?i:is))[ \t]{0,8}[\"']?)"
    r"(?P<value>[^\s\"',;&<>\\]{4,})"
)
_ASSIGNED_WORDS = ("passw", "passphr", "pwd", "secret", "key", "token")
_NAME_ENDS = ("password", "passwd", "passphrase", "pwd", "secret", "key", "token")
_OF_KEYS = ("secret", "api", "access", "private")
_FEW = 8  # signs in a kilobyte


def _may_hold_assigned(look: Look) -> bool:
    if ":" in look.text or "=" in look.text:
        text = look.squeezed
        many = text.count(":") > _FEW * (1 + len(text) / 1024)
        if many and not any(word in text for word in _ASSIGNED_WORDS):
            return False
        if _follows_name(text.split(":")):
            return True
    return look.digit and _follows_name(look.squeezed.split("is"))  # what "is" a secret has a digit


def _follows_name(parts: list[str]) -> bool:
    """Whether one of the signs at which a text was split stands after a name."""
    return any(
        not part.endswith("key") or any(word in part[-20:] for word in _OF_KEYS)
        for part in [part for part in parts[:-1] if part.endswith(_NAME_ENDS)]
    )


_PROSE = re.compile(r"[A-Za-z]+[.:!?)]*")


def _assigned(match: re.Match[str]) -> str:
    # "password: see below", "the secret is patience": a word of prose is no secret, unless it is assigned.
    if match["sign"] != "=" and _PROSE.fullmatch(match["value"]):
        return match.group()
    if match["sign"] not in "=:" and not re.search(r"\d", match["value"]):
        return match.group()
    return f"{match['name']}{match['between']}[secret]"


_EMAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]+@[\w-]+(?:\.[\w-]+)*\.[^\W\d_]{2,}")

_CARD = re.compile(r"(?<![\d.-])(?=[3-6]|2[2-7])\d(?:[ -]?\d){12,18}(?![\d-])(?!\.\d)")
_SSN = re.compile(r"(?<![\w.-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])")
_PHONE = re.compile(
    r"(?<![\w+])\+[1-9](?:[ .-]?\(?\d\)?){6,14}(?![\d-])"  # +44 (20) 7946 0958
    r"|(?<![\w.+-])(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}(?P<gap>[ .-]))[2-9]\d{2}[ .-]\d{4}(?![\w-])"  # US
)


def _may_hold_card(look: Look) -> bool:
    return look.digit and (look.foreign or _CARD_RUN in look.run)


_CARD_RUN = "0" * 13


def _may_hold_ssn(look: Look) -> bool:
    return look.digit and (look.foreign or ("-" in look.text and "000-00-0000" in look.shape))


_NORTH_AMERICAN = re.compile("000[ .-]0000")  # in the shape


def _may_hold_phone(look: Look) -> bool:
    return look.digit and (
        look.foreign
        or ("0000000" in look.run and ("+0" in look.shape or _NORTH_AMERICAN.search(look.shape) is not None))
    )


def _card(match: re.Match[str]) -> str:
    digits = [int(c) for c in match.group() if c.isdecimal()]
    doubled = (sum(divmod(2 * d, 10)) for d in digits[-2::-2])
    return "[card]" if (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0 else match.group()


_IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,32}")
# SWIFT's IBAN registry.
_IBAN_LENGTH = {
    "AD": 24, "AE": 23, "AT": 20, "BE": 16, "BG": 22, "BR": 29, "CH": 21, "CY": 28, "CZ": 24, "DE": 22,
    "DK": 18, "EE": 20, "ES": 24, "FI": 18, "FR": 27, "GB": 22, "GR": 27, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IS": 26, "IT": 27, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MT": 31, "NL": 18,
    "NO": 15, "PL": 28, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "TR": 26, "UA": 29,
}  # fmt: skip


def _may_hold_iban(look: Look) -> bool:
    return look.digit and (look.foreign or "AA00" in look.shape)


def _iban(match: re.Match[str]) -> str:
    text = match.group()
    length = _IBAN_LENGTH.get(text[:2], 0)
    taken = kept = 0
    while kept < length and taken < len(text):
        kept += text[taken] != " "
        taken += 1
    number = text[:taken].replace(" ", "")
    rest = text[taken:]
    if not length or kept < length or (rest and rest[0] != " "):
        return text
    value = int("".join(str(int(c, 36)) for c in number[4:] + number[:4]))
    return f"[iban]{rest}" if value % 97 == 1 else text


_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\.?\d)(?!\w)")
_DOTTED = re.compile(r"0\.0{1,3}\.0")  # in the shape
_SEVEN_COLONS = re.compile(r":(?:[0-9A-Fa-f]{0,4}:){6}")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")


def _may_hold_ipv4(look: Look) -> bool:
    return look.digit and (look.foreign or _DOTTED.search(look.shape) is not None)


def _may_hold_ipv6(look: Look) -> bool:
    text = look.text
    if ":" not in text or text.count(":") < 3:
        return False
    return "::" in text or _SEVEN_COLONS.search(text) is not None


def _ip(match: re.Match[str]) -> str:
    text = match.group()
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    if address.is_loopback or address.is_unspecified:
        return text
    # "A::B" and "10::30" are an address too, by the letter.
    if address.version == 6 and sum(1 for group in text.split(":") if group) < 3:
        return text
    return "[ip]"


def _sub(pattern: re.Pattern[str], by: str | Callable[[re.Match[str]], str]) -> Callable[[str], str]:
    return lambda text: pattern.sub(by, text)


def may_hold_anything(text: str) -> bool:
    """Whether one of the rules can find something in ``text``. Most prose has none of the characters without one of
    which nothing is found, and to look for each of them takes less than half a microsecond a kilobyte.

    A token has a digit, ``-``, ``_``, ``A`` (of AWS, of Google), ``G`` (``SG.``) or ``J`` (``eyJ``); a login is after
    ``authorization``; a value that "is" a secret has a digit. Other scripts have digits of their own.
    """
    return (
        not text.isascii()
        or ("-" in text or ":" in text or "=" in text or "@" in text or "_" in text or "/" in text)
        or ("0" in text or "1" in text or "2" in text or "3" in text or "4" in text)
        or ("5" in text or "6" in text or "7" in text or "8" in text or "9" in text)
        or ("A" in text or "G" in text or "J" in text or "z" in text or "Z" in text)
    )


RULES: tuple[Rule, ...] = (
    (lambda look: "-" in look.text and "PRIVATE KEY" in look.text, _private_keys),
    (_may_hold_token, _sub(_TOKEN, "[token]")),
    (lambda look: "/" in look.text and "hooks.slack.com" in look.text, _sub(_SLACK_HOOK, "[token]")),
    (_may_hold_authorization, _sub(_AUTHORIZATION, _authorization)),
    (lambda look: "@" in look.text and "://" in look.text, _sub(_URL_LOGIN, "[login]@")),
    (_may_hold_assigned, _sub(_ASSIGNED, _assigned)),
    (lambda look: "@" in look.text, _sub(_EMAIL, "[email]")),
    (_may_hold_iban, _sub(_IBAN_START, _iban)),
    (_may_hold_card, _sub(_CARD, _card)),
    (_may_hold_ssn, _sub(_SSN, "[ssn]")),
    (_may_hold_phone, _sub(_PHONE, "[phone]")),
    (_may_hold_ipv4, _sub(_IPV4, _ip)),
    (_may_hold_ipv6, _sub(_IPV6, _ip)),
)

_OF_DIGITS = (_may_hold_card, _may_hold_ssn, _may_hold_phone, _may_hold_iban, _may_hold_ipv4)
RULES_WITHOUT_DIGITS = tuple(rule for rule in RULES if rule[0] not in _OF_DIGITS)
"""Those that may find something in a text without a digit."""

SECRET_KEYS = re.compile(
    r"(?i)(?:[a-z0-9]+[_.-])*(?:password|passwd|passphrase|pwd|secret|client_?secret|secret_?key|"
    r"secret_?access_?key|api_?key|x-api-key|authorization|proxy-authorization|access_?token|refresh_?token|"
    r"id_?token|auth_?token|session_?token|private_?key|set-cookie|ssn|cvv|cvc|card_?number)"
)
"""Names of JSON members whose value is a secret, whatever it looks like."""

OPAQUE_KEYS = re.compile(r"(?i)token|key|cookie|credentials?")
"""Names whose value may be a secret: it is one if it is long, without spaces, and has a digit."""

OPAQUE_VALUE = re.compile(r"(?=[^\d]*\d)[^\s\[\]]{20,}")
