"""What personal data look like: addresses, numbers. Pure.

Rules with a checksum (cards, IBANs) or a parser (IP addresses) use it to leave other numbers alone. Patterns as in
:mod:`shadowlane.producers.redaction.secrets`.
"""

import ipaddress
import re

from shadowlane.producers.redaction.look import Look
from shadowlane.producers.redaction.marks import Mark
from shadowlane.producers.redaction.phones import may_hold_phone, phones
from shadowlane.producers.redaction.rule import Rule, found, replaced

_EMAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]+@[\w-]+(?:\.[\w-]+)*\.[^\W\d_]{2,}")
_UNPARTED = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # scripts that write the next word without a blank
_BEFORE = re.compile(rf"[{_UNPARTED}]+(?=[A-Za-z0-9])")
_BEHIND = re.compile(rf"(?<=[A-Za-z])[{_UNPARTED}]+$")


def _email(match: re.Match[str], mark: Mark) -> str:
    text = match.group()
    if text.isascii():
        return mark("email", text)
    before, behind = _BEFORE.match(text), _BEHIND.search(text)
    start, end = before.end() if before else 0, behind.start() if behind else len(text)
    return text[:start] + mark("email", text[start:end]) + text[end:]


_CARD = re.compile(r"(?<![A-Za-z0-9_.-])(?=[3-6]|2[2-7])\d(?:[ -]?\d){12,18}(?![A-Za-z0-9-])(?!\.\d)")
# ISO 7812, as the networks use it: Visa, Mastercard, American Express, Diners, JCB, Discover and UnionPay, Maestro.
_NETWORKS = re.compile(
    r"4(?:\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}(?:\d\d)?|35\d{14}(?:\d{3})?"
    r"|6\d{15}(?:\d{1,3})?|(?:50|5[6-8])\d{14,17}"
)
_SSN = re.compile(r"(?<![\w.-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])")


def _may_hold_card(look: Look) -> bool:
    return look.digit and (look.foreign or _CARD_RUN in look.run)


_CARD_RUN = "0" * 13


def _may_hold_ssn(look: Look) -> bool:
    return look.digit and (look.foreign or ("-" in look.text and "000-00-0000" in look.shape))


def _card(match: re.Match[str], mark: Mark) -> str:
    digits = [int(c) for c in match.group() if c.isdecimal()]
    if not _NETWORKS.fullmatch("".join(map(str, digits))):
        return match.group()
    doubled = (sum(divmod(2 * d, 10)) for d in digits[-2::-2])
    is_card = (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
    return mark("card", match.group()) if is_card else match.group()


_IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,32}")
# SWIFT's IBAN registry.
_IBAN_LENGTH = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27,
    "BR": 29, "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28,
    "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23,
    "GL": 18, "GR": 27, "GT": 28, "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26,
    "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21,
    "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28,
    "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22,
    "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25,
    "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}  # fmt: skip


def _may_hold_iban(look: Look) -> bool:
    return look.digit and (look.foreign or "AA00" in look.shape)


def _iban(match: re.Match[str], mark: Mark) -> str:
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
    return f"{mark('iban', text[:taken])}{rest}" if value % 97 == 1 else text


_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\.?\d)(?!\w|-[A-Za-z])")
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


def _ip(match: re.Match[str], mark: Mark) -> str:
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
    return mark("ip", text)


PERSONAL: tuple[Rule, ...] = (
    (lambda look: "@" in look.text, replaced(_EMAIL, _email)),
    (_may_hold_iban, replaced(_IBAN_START, _iban)),
    (_may_hold_card, replaced(_CARD, _card)),
    (_may_hold_ssn, found(_SSN, "ssn")),
    (may_hold_phone, phones),
    (_may_hold_ipv4, replaced(_IPV4, _ip)),
    (_may_hold_ipv6, replaced(_IPV6, _ip)),
)

OF_DIGITS = (_may_hold_card, _may_hold_ssn, may_hold_phone, _may_hold_iban, _may_hold_ipv4)
"""The guards of those that find nothing without a digit."""
