"""What the names of JSON members say of their values: that they go, whatever they look like. Pure."""

import re
from typing import Any

from shadowlane.producers.redaction.marks import MARKED

SECRET = re.compile(
    r"(?i)(?:[a-z0-9]+[_.-])*(?:password|passwd|passphrase|pwd|secret|client_?secret|secret_?key|"
    r"secret_?access_?key|api_?key|x-api-key|authorization|proxy-authorization|access_?token|refresh_?token|"
    r"id_?token|auth_?token|session_?token|private_?key|set-cookie|ssn|cvv|cvc|card_?number)"
)
OPAQUE = re.compile(r"(?i)token|key|cookie|credentials?")
"""The value may be a secret: it is one if it is long, without spaces, and has a digit."""
OPAQUE_VALUE = re.compile(r"(?=[^\d]*\d)[^\s\[\]]{20,}")

PHONE = re.compile(
    r"(?:[a-z0-9]+_)*(?:phone|telephone|tel|mobile|cell|cellphone|fax|whatsapp|msisdn|phone_?(?:number|no)|"
    r"(?:tel|telephone|mobile|cell|fax|whatsapp|contact)_?(?:number|no))"
)
PHONE_VALUE = re.compile(r"[+\d(][\d\s().+/-]{4,28}\d(?:\s?(?:x|ext\.?)\s?\d{1,6})?")

ADDRESS = re.compile(
    r"(?:(?!e?mail_|ip_|mac_|ipv._|web_|site_|url_|server_|host_|bind_|wallet_)[a-z0-9]+_)*address"
)
"""Of a person, if it is one: an object, a list, a text of several words."""
STREET = re.compile(
    r"(?:[a-z0-9]+_)*(?:street|street_?(?:address|name|number|line)|house_?(?:number|no)|address_?line_?\d?|"
    r"address_?[12]|post_?code|postal_?code|zip_?code|plz|full_?address)"
)
WITHIN_ADDRESS_STAY = frozenset(
    ("country", "country_code", "type", "kind", "label", "id", "object", "valid", "validated", "is_default")
)
_SCHEMA = frozenset(("type", "properties", "$ref", "anyOf", "oneOf", "allOf", "enum", "items", "description"))
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def kind_of(name: str) -> str:
    """What the value of a member of this name is: ``secret``, ``phone``, ``address``, ``street``; ``opaque`` where it
    may be a secret; else ``""``."""
    parted = _CAMEL.sub("_", name).replace("-", "_").replace(" ", "_").lower()
    if SECRET.fullmatch(name) or SECRET.fullmatch(parted):
        return "secret"
    if PHONE.fullmatch(parted):
        return "phone"
    if ADDRESS.fullmatch(parted):
        return "address"
    if STREET.fullmatch(parted):
        return "street"
    return "opaque" if OPAQUE.fullmatch(name) else ""


def goes(kind: str, value: Any) -> bool:
    """Whether a text or a number goes whole, as the value of a member that is of this kind."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value == "":
        return False
    if isinstance(value, str) and MARKED.fullmatch(value):
        return False
    match kind:
        case "secret" | "street" | "denied":
            return True
        case "phone":
            return PHONE_VALUE.fullmatch(str(value).strip()) is not None
        case "address":
            return isinstance(value, str) and (not value.isascii() or len(value.split()) > 1)
        case _:
            return isinstance(value, str) and OPAQUE_VALUE.fullmatch(value) is not None


def is_schema(value: dict[str, Any]) -> bool:
    """Whether an object describes values, as a tool's parameters do, and is none."""
    return (
        not _SCHEMA.isdisjoint(value)
        and any(name in value for name in ("properties", "$ref", "anyOf", "oneOf", "allOf", "enum", "items"))
    ) or value.get("type") in ("string", "object", "array", "number", "integer", "boolean", "null")
