"""The token that an endpoint of ours asks for: from the environment, needed beyond loopback."""

import hmac
import ipaddress
import os

from aiohttp import web

from shadowlane.errors import ConfigError


def token_of(section: str, host: str, token_env: str) -> str:
    """The token, ``""`` where none is asked for. ``section`` of the configuration has ``host`` and ``token_env``.

    Raises:
        ConfigError: it is named and not set; or others than this machine could ask, without a token.
    """
    if token_env:
        token = os.environ.get(token_env, "")
        if not token:
            raise ConfigError(f"{section}.token_env names {token_env}, which is not set: export it")
        return token
    if not _is_loopback(host):
        raise ConfigError(
            f"{section}.host is {host!r}, beyond this machine, and there is no token: set {section}.token_env to the "
            f"environment variable that holds one, or {section}.host to 127.0.0.1"
        )
    return ""


def given(request: web.Request) -> str:
    """The token that a request brings: ``Authorization: Bearer …``, else ``X-API-Key``."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.headers.get("X-API-Key", "")


def same(told: str, token: str) -> bool:
    """Whether they are equal, in a time that does not tell how much of them is."""
    return hmac.compare_digest(told.encode("utf-8", "surrogatepass"), token.encode())


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
