"""Signs calls to Amazon Bedrock. Needs botocore, which finds keys and endpoints as AWS' own tools do."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import yarl
from multidict import CIMultiDict

from shadowlane.errors import ConfigError
from shadowlane.schemas.config import Version

SERVICE = "bedrock"


class UnsignedError(OSError):
    """There are no keys at this moment: those that expire could not be renewed."""


class Signer:
    """Signs by Signature Version 4, with keys that are renewed when they expire."""

    def __init__(self, credentials: Any, region: str) -> None:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        self._credentials, self._region = credentials, region
        self._auth, self._request = SigV4Auth, AWSRequest

    async def headers(self, url: yarl.URL, headers: Mapping[str, str], payload: bytes) -> CIMultiDict[str]:
        """The headers of a POST, with the signature over all of them, the address and the body.

        Raises:
            UnsignedError: the keys expired, and can't be renewed.
        """
        from botocore.exceptions import BotoCoreError

        credentials = self._credentials
        try:
            if getattr(credentials, "refresh_needed", lambda: False)():  # that asks a server, and blocks
                keys = await asyncio.to_thread(credentials.get_frozen_credentials)
            else:
                keys = credentials.get_frozen_credentials()
        except BotoCoreError as exc:
            raise UnsignedError(f"no AWS keys: {exc}") from exc
        request = self._request("POST", str(url), headers=dict(headers), data=payload)
        self._auth(keys, SERVICE, self._region).add_auth(request)
        return CIMultiDict(request.headers.items())


def reached(version: Version, where: str) -> tuple[yarl.URL, Signer | None]:
    """Where a version of kind bedrock is asked, and who signs; nobody where it has a key of Bedrock's own.

    Raises:
        ConfigError: botocore, the region, the profile or the keys are not there.
    """
    try:
        import botocore.exceptions
        import botocore.session
    except ImportError as exc:
        raise ConfigError(
            f"{where}.kind bedrock needs botocore: pip install 'shadowlane[bedrock]' where the worker runs"
        ) from exc
    named = version.bedrock
    try:
        session = botocore.session.Session(profile=(named and named.profile) or None)
        client = session.create_client(
            "bedrock-runtime",
            region_name=(named and named.region) or None,
            endpoint_url=version.base_url or None,
        )
        credentials = None if version.api_key_env else session.get_credentials()
    except botocore.exceptions.NoRegionError as exc:
        raise ConfigError(f"{where}.bedrock.region is not given, and AWS_REGION is not set") from exc
    except botocore.exceptions.BotoCoreError as exc:
        raise ConfigError(f"{where}.bedrock: {exc}") from exc
    base = str(client.meta.endpoint_url).rstrip("/")
    # The model's name may hold colons and slashes; what is signed is the address as it is sent.
    url = yarl.URL(f"{base}/model/{quote(version.model, safe='')}/converse", encoded=True)
    if version.api_key_env:
        return url, None
    if credentials is None:
        raise ConfigError(
            f"{where}.bedrock: no AWS keys where AWS' tools look for them (AWS_ACCESS_KEY_ID, a profile, a role)"
        )
    return url, Signer(credentials, str(client.meta.region_name))
