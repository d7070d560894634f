"""Signatures of outgoing webhooks as Standard Webhooks has them. Pure.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
import urllib.parse

from shadowlane.errors import ConfigError

PREFIX = "whsec_"
MIN_SECRET_BYTES = 24


def signed(secret: str, message_id: str, at_s: int, body: bytes) -> dict[str, str]:
    """The three headers of a message. ``at_s`` is when it is sent, in Unix seconds; receivers allow for minutes.

    Raises:
        ConfigError: the secret is none.
    """
    named = header_id(message_id)
    content = f"{named}.{at_s}.".encode() + body
    signature = base64.b64encode(hmac.digest(secret_bytes(secret), content, hashlib.sha256)).decode()
    return {
        "webhook-id": named,
        "webhook-timestamp": str(at_s),
        "webhook-signature": f"v1,{signature}",
    }


def secret_bytes(secret: str) -> bytes:
    """The key in a secret such as ``whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw``.

    Raises:
        ConfigError: it isn't base64, or shorter than the 24 bytes that the standard asks for. The secret isn't quoted.
    """
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < MIN_SECRET_BYTES:
        raise ConfigError(
            f"a webhook's secret is {PREFIX} and the base64 of at least {MIN_SECRET_BYTES} random bytes, and this is "
            f"none: make one with `echo {PREFIX}$(openssl rand -base64 32)`"
        )
    return key


def header_id(message_id: str) -> str:
    """The id in a form that a header may have, without full stops: these separate the parts that are signed."""
    return urllib.parse.quote(message_id, safe=":", errors="replace").replace(".", "%2E")
