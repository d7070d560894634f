"""What a secret looks like: keys, tokens, passwords. Pure.

Each rule is a cheap guard and a function (text, mark) -> text. Every pattern can only start where a run of its
characters starts (the look-behinds), and repeats without overlap, so its cost is linear in the text.
"""

import re

from shadowlane.producers.redaction.look import Look
from shadowlane.producers.redaction.marks import MARKED, Mark
from shadowlane.producers.redaction.rule import Rule, found, replaced

_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")


def private_keys(text: str, mark: Mark) -> str:
    # Not one pattern: a BEGIN without its END would be scanned to the text's end once for each BEGIN.
    out, at = [], 0
    while (begin := _BEGIN.search(text, at)) is not None:
        end = _END.search(text, begin.end())
        key_end = end.end() if end else len(text)
        out += [text[at : begin.start()], mark("private key", text[begin.start() : key_end])]
        at = key_end
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
    r"|SK[0-9a-f]{32}(?![0-9A-Za-z])"  # Twilio
    r"|gsk_[A-Za-z0-9]{30,}|pplx-[A-Za-z0-9]{30,}|xai-[A-Za-z0-9]{30,}|r8_[A-Za-z0-9]{30,}"  # models
    r"|shp(?:at|ca|pa|ss)_[a-f0-9]{32}|dckr_pat_[A-Za-z0-9_-]{20,}|lin_api_[A-Za-z0-9]{30,}"
    r"|gls?[ac]_[A-Za-z0-9+/=_-]{20,}|NRAK-[A-Z0-9]{20,}|sbp_[a-f0-9]{40}"
    r"|(?<=\d:)AA[A-Za-z0-9_-]{32,35}(?![A-Za-z0-9_-])"  # Telegram's bots; the number before is public
    r"|dapi[a-f0-9]{32}|hvs\.[A-Za-z0-9_-]{24,}"  # Databricks, Vault
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"  # JSON web tokens
    r")"
)
# By a character that each of them has: where it is missing, none of them is there.
_TOKEN_STARTS = {
    "-": ("sk-", "glpat-", "xox", "xapp-", "GOCSPX-", "pypi-", "pplx-", "xai-", "NRAK-"),
    "_": (
        *("k_live_", "k_test_", "whsec_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        *("hf_", "npm_", "dop_v1_", "gsk_", "r8_", "shpat_", "shpca_", "shppa_", "shpss_", "dckr_pat_"),
        *("lin_api_", "glsa_", "glc_", "sbp_"),
    ),
    ".": ("ya29.", "SG.", "eyJ", "hvs."),
    "K": ("SK",),
    "p": ("dapi",),
    "A": ("AKIA", "ASIA", "AROA", "AIDA", "AIza", "AA"),
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
    r"(?<![A-Za-z0-9])(?i:(bearer)[ \t]{1,8}(?=[A-Za-z._~+/=-]{0,40}\d)"
    r"|(authorization[\"']?:?[ \t]{0,8}[\"']?basic)[ \t]{1,8})"
    r"(?P<login>[A-Za-z0-9._~+/=-]{12,})"
)


def _may_hold_authorization(look: Look) -> bool:
    if not (look.digit or "z" in look.text or "Z" in look.text):
        return False  # "Bearer" is followed by a digit, and the other by "authorization"
    squeezed = look.squeezed
    return (look.digit and "bearer" in squeezed) or ("basic" in squeezed and "authorization" in squeezed)


def _authorization(match: re.Match[str], mark: Mark) -> str:
    return f"{match.group(1) or match.group(2)} {mark('token', match['login'])}"


_URL_LOGIN = re.compile(r"(?<=://)[^\s/:@\[\]\"'<>]{1,200}:[^\s/@\"'<>]{1,200}(?=@)")

_ASSIGNED = re.compile(
    r"(?<![A-Za-z0-9$])(?P<name>(?:[A-Za-z0-9]{1,30}[_.-]){0,4}"
    r"(?:[a-z0-9]{1,30}(?=[A-Z]))?"  # camelCase
    r"(?i:password|passwd|passphrase|pwd|secret(?:[_ -]?(?:access[_ -]?)?key)?|api[_ -]?key"
    r"|(?:shared[_ -]?)?access[_ -]?key|account[_ -]?key"
    r"|private[_ -]?key|(?:access|auth|refresh|session|bearer)[_ -]?token|token))"
    r"(?P<between>[\"']?[ \t]{0,8}(?P<sign>=|:|(?i:is))[ \t]{0,8}[\"']?)"
    r"(?P<value>[^\s\"',;&<>\\]{4,})"
)
_ASSIGNED_WORDS = ("passw", "passphr", "pwd", "secret", "key", "token")
_NAME_ENDS = ("password", "passwd", "passphrase", "pwd", "secret", "key", "token")
_OF_KEYS = ("secret", "api", "access", "private", "account")
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
_PLACEHOLDER = re.compile(r"_[A-Za-z]+|(?i:your)[_-][A-Za-z_-]+|\$\{?[A-Za-z_]+\}?")
"""A name in code, or what stands for a secret in an example."""


def _assigned(match: re.Match[str], mark: Mark) -> str:
    # "password: see below", "the secret is patience": a word of prose is no secret, unless it is assigned.
    if match["sign"] != "=" and _PROSE.fullmatch(match["value"]):
        return match.group()
    if match["sign"] not in "=:" and not re.search(r"\d", match["value"]):
        return match.group()
    if MARKED.fullmatch(match["value"]) or _PLACEHOLDER.fullmatch(match["value"]):
        return match.group()
    return f"{match['name']}{match['between']}{mark('secret', match['value'])}"


SECRETS: tuple[Rule, ...] = (
    (lambda look: "-" in look.text and "PRIVATE KEY" in look.text, private_keys),
    (_may_hold_token, found(_TOKEN, "token")),
    (lambda look: "/" in look.text and "hooks.slack.com" in look.text, found(_SLACK_HOOK, "token")),
    (_may_hold_authorization, replaced(_AUTHORIZATION, _authorization)),
    (lambda look: "@" in look.text and "://" in look.text, found(_URL_LOGIN, "login")),
    (_may_hold_assigned, replaced(_ASSIGNED, _assigned)),
)
