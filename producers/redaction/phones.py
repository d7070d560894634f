"""Phone numbers: by their form, and where that says nothing, by a word before them. Pure."""

import re

from shadowlane.producers.redaction.look import Look
from shadowlane.producers.redaction.marks import Mark

_PHONE = re.compile(
    r"(?<![A-Za-z0-9_+])\+[1-9](?:[ .-]?\(?\d\)?){6,14}(?![\d-])"  # +44 (20) 7946 0958
    r"|(?<![A-Za-z0-9_.,+/-])00[1-9]\d{0,2}[ ./-](?:[ .-]?\(?\d\)?){6,12}(?![\d-])"  # 0044 20 7946 0958
    r"|(?<![A-Za-z0-9_.+-])(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}(?P<gap>[ .-]))[2-9]\d{2}[ .-]\d{4}"
    r"(?![A-Za-z0-9_-])"  # North American
)
_NATIONAL = re.compile(
    r"(?<![A-Za-z0-9_.,+/-])\(?\d{1,6}\)?(?:[ ./-]\(?\d{2,8}\)?){1,5}(?![A-Za-z0-9_-])(?![.,:]\d)"
    r"|(?<![A-Za-z0-9_.,+/-])\d{8,12}(?![A-Za-z0-9_-])(?![.,:]\d)"
)
"""What may be one: 06 12 34 56 78, 030/901820, (11) 91234-5678."""
_BY_FORM = re.compile(
    r"0\d{1,4}(?:[ .-]\d{2,4}){2,4}"  # 020 7946 0958, 06.12.34.56.78, 090-1234-5678
    r"|\(\d{2,3}\) ?9?\d{4}-\d{4}"  # (11) 91234-5678
    r"|1[3-9]\d[ -]\d{4}[ -]\d{4}|06-\d{8}"  # 138 0013 8000
)
_WORD = re.compile(
    r"(?:\b(?:tele?(?:ph|f)\w*|téléphone|teléfono|tel|phones?|mobiles?|móvil|m[oó]bil\w*|cell|cellphone|celular|cellulare"
    r"|cellphones?|handy\w*|whats ?app|fax|msisdn|caller)\b|телефон\w*|電話\w*|携帯\w*|电话|手机\w*|전화\w*|휴대\w*)"
    r"[^\d\n]{0,30}$",
    re.I,
)
_VERB = re.compile(
    r"(?:\b(?:call|ring|reach|text|rufen|anrufen|rufe|appeler|appelez|llam\w*|llám\w*|ligu?\w*|chiam\w*|bel|bellen|zadzwo\w*)"
    r"\b|звон\w*)[^\d\n]{0,30}$",
    re.I,
)
_LOOK_BACK = 48
_NORTH_AMERICAN = re.compile("000[ .-]0000")  # in the shape


def may_hold_phone(look: Look) -> bool:
    if not look.digit or not (look.foreign or "0000000" in look.run):
        return False
    return (
        look.foreign
        or "00000000" in look.run
        or "+0" in look.shape
        or _NORTH_AMERICAN.search(look.shape) is not None
    )


def phones(text: str, mark: Mark) -> str:
    text = _PHONE.sub(lambda match: mark("phone", match.group()), text)
    return _NATIONAL.sub(lambda match: _national(match, mark), text)


def _national(match: re.Match[str], mark: Mark) -> str:
    text = match.group()
    digits = sum(c.isdecimal() for c in text)
    if not 8 <= digits <= 12:
        return text
    if 9 <= digits <= 11 and _BY_FORM.fullmatch(text):
        return mark("phone", text)
    start = match.start()
    before = match.string[max(0, start - _LOOK_BACK) : start]
    parted = digits < len(text)
    if _WORD.search(before) or ((parted or text[0] == "0") and digits >= 9 and _VERB.search(before)):
        return mark("phone", text)
    return text
