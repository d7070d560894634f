"""Who can be asked for a rollout: both of its arms, checked before the first call."""

from collections.abc import Callable
from dataclasses import dataclass, field

import orjson
import yarl
from multidict import CIMultiDict

from shadowlane.errors import ConfigError
from shadowlane.processors.samples import NoiseSample, shadowed
from shadowlane.processors.worker.aws import Signer, reached
from shadowlane.processors.worker.effects import PRODUCTION_HOST, same_host, side_effect
from shadowlane.producers.sampling import Sampler
from shadowlane.schemas.answers import Answer
from shadowlane.schemas.answers.templated import reader
from shadowlane.schemas.config import Rollout, Version, Worker
from shadowlane.schemas.events import Arm, Response, Role
from shadowlane.schemas.marks import PREFIX, ROLLOUT, SHADOW

ANTHROPIC_VERSION = "2023-06-01"
PATHS = {"openai": "/chat/completions", "openai-responses": "/responses", "anthropic": "/messages"}


@dataclass(frozen=True, slots=True)
class Target:
    """One arm, ready to be asked: its key is there, its address and overrides make sense.

    Where it can't be asked, ``unable`` says why, and ``url`` is empty.
    """

    arm: Arm
    version: Version  # of a candidate that names no model: with the stable version's
    url: yarl.URL
    headers: CIMultiDict[str]
    timeout_s: float
    blank: Response  # what all of its responses have in common
    secrets: tuple[str, ...]  # never repeated in an error message
    unable: str = ""
    host: str = ""  # with its port where that is given; "" where production may be asked there too
    method: str = "POST"
    read: Callable[[bytes], Answer] | None = None  # of answers of its own form; None: by their protocol
    signer: Signer | None = None
    fingerprints: dict[str, str] = field(default_factory=dict)  # of its parameters, by those of the request

    @classmethod
    def of(cls, rollout: Rollout, arm: Arm, worker: Worker, role: Role = Role.SHADOW) -> "Target":
        """Checks one arm of a rollout, and reads its key from the environment if it can be asked.

        ``role`` is that of its responses: as a baseline it is asked what it served, so that it need name no model.

        Raises:
            ConfigError: the key is not there, or the address, the headers or the overrides can't be used, or could
                reach a side effect.
        """
        version: Version = rollout.candidate
        if arm is Arm.STABLE:
            version = rollout.stable
        elif version.protocol and not version.model:
            version = version.model_copy(update={"model": rollout.stable.model})
        where = f"rollout {rollout.name!r}: {arm.value}"
        try:
            orjson.dumps(version.overrides)
        except TypeError as exc:
            raise ConfigError(f"{where}.overrides can't be sent as JSON: {exc}") from exc
        if why := side_effect(version.overrides, version.protocol, version.allow):
            raise ConfigError(f"{where}.overrides: {why}")
        timeout_s = version.timeout_s or worker.timeout_s
        unable = "" if role is Role.BASELINE else _unable(rollout, arm)
        blank = Response(
            request_id="",
            ts=0,
            completed_at=0,
            service="",
            route="",
            role=role.value,
            arm=arm.value,
            rollout=rollout.name,
            model=version.model,
        )
        if unable:
            return cls(arm, version, yarl.URL(), CIMultiDict(), timeout_s, blank, (), unable)
        try:
            key = version.api_key()
        except ConfigError as exc:
            raise ConfigError(f"{where}.{exc}") from exc
        headers = {
            "accept": "application/json",
            "content-type": "application/json",
            "user-agent": "shadowlane",
        }
        anthropic = version.kind == "anthropic"
        if anthropic:
            headers["anthropic-version"] = ANTHROPIC_VERSION
        if key:
            headers |= {"x-api-key": key} if anthropic else {"authorization": f"Bearer {key}"}
        headers |= {name.lower(): value for name, value in version.headers.items()}
        if reserved := [name for name in headers if name.startswith(PREFIX)]:
            raise ConfigError(f"{where}.headers: {reserved[0]} is the worker's own: take it out")
        headers |= {SHADOW: "1", ROLLOUT: rollout.name}
        if any(not text.isascii() or not text.isprintable() for pair in headers.items() for text in pair):
            raise ConfigError(f"{where}.headers and its key may hold printable ASCII alone")
        secrets = [key, *(value for value in version.headers.values() if len(value) >= 8)]
        longest_first = tuple(sorted(filter(None, secrets), key=len, reverse=True))
        http, signer = version.http, None
        if version.kind == "python":
            url = yarl.URL()
        elif version.kind == "bedrock":
            if not version.model:
                raise ConfigError(f"{where}.model is not given: Bedrock has the model in its address")
            url, signer = reached(version, where)
        else:
            url = _url(version, where)
        return cls(
            arm,
            version,
            url,
            CIMultiDict(headers),
            timeout_s,
            blank,
            longest_first,
            host=_guarded_host(url, rollout, arm, worker, where),
            method=http.method if http else "POST",
            read=reader(http.answer) if http and http.answer else None,
            signer=signer,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """A rollout as the worker carries it out: whom it asks of which requests."""

    rollout: Rollout
    epoch: str
    sampler: Sampler
    targets: dict[Arm, Target]
    noise: "Noise | None" = None

    @classmethod
    def of(cls, rollout: Rollout, worker: Worker) -> "Plan":
        """
        Raises:
            ConfigError: one of its arms can't be asked as configured (:meth:`Target.of`).
        """
        targets = {arm: Target.of(rollout, arm, worker) for arm in Arm}
        return cls(
            rollout=rollout,
            epoch=rollout.epoch,
            sampler=shadowed(rollout),
            targets=targets,
            noise=Noise.of(rollout, worker),
        )


@dataclass(frozen=True, slots=True)
class Noise:
    """Which requests the stable version is asked again, and how."""

    sample: NoiseSample
    target: Target

    @classmethod
    def of(cls, rollout: Rollout, worker: Worker) -> "Noise | None":
        """None where it is switched off.

        Raises:
            ConfigError: it can't be asked as configured (:meth:`Target.of`).
        """
        sample = NoiseSample.of(rollout)
        return None if sample is None else cls(sample, Target.of(rollout, Arm.STABLE, worker, Role.BASELINE))


def _unable(rollout: Rollout, arm: Arm) -> str:
    """The candidate can always be asked. The stable version need not be, while it alone serves."""
    stable = rollout.stable
    if arm is Arm.CANDIDATE:
        return ""
    if not stable.reachable:
        return "stable.base_url is not given"
    if stable.protocol and not stable.model and rollout.candidate.model:
        return "stable.model is not given, and the request names the candidate's"
    return ""


def _guarded_host(url: yarl.URL, rollout: Rollout, arm: Arm, worker: Worker, where: str) -> str:
    """The host of a web service, which must not be production's; ``""`` of a model's API, and where that is allowed.

    Raises:
        ConfigError: it is production's, as the configuration says.
    """
    version = rollout.stable if arm is Arm.STABLE else rollout.candidate
    if version.kind != "http" or PRODUCTION_HOST in version.allow:
        return ""
    host = _host(url)
    known = {name: "worker.production_hosts" for name in worker.production_hosts}
    stable = rollout.stable
    if arm is Arm.CANDIDATE and stable.kind == "http" and stable.base_url:
        known[_host(_url(stable, "stable"))] = "the stable version's"
    for name, whose in known.items():
        if same_host(host, name):
            raise ConfigError(
                f"{where}.base_url: {host} is production's ({whose}: {name}), and to ask there may have effects: "
                f"name a server of its own, or say {arm.value}.allow: [{PRODUCTION_HOST}]"
            )
    return host


def _host(url: yarl.URL) -> str:
    host = f"[{url.host}]" if ":" in (url.host or "") else url.host or ""
    return f"{host}:{url.explicit_port}" if url.explicit_port else host


def _url(version: Version, where: str) -> yarl.URL:
    base = version.base_url
    try:
        path = version.http.path if version.http is not None else PATHS.get(version.kind, "")
        url = yarl.URL(base.rstrip("/") + path if path else base)
    except ValueError as exc:
        raise ConfigError(f"{where}.base_url {base!r} is no URL: {exc}") from exc
    if not url.host:
        raise ConfigError(f"{where}.base_url {base!r} names no host: http://host:port/path")
    if url.user is not None or url.password is not None:
        raise ConfigError(f"{where}.base_url may hold no user and password: use api_key_env or headers")
    return url
