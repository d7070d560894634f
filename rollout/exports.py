"""A rollout's state in the words of other routers: flagd, the Gateway API, LiteLLM. Pure: states in, documents out.

None of them has the key's place of :mod:`shadowlane.rollout.routing`. flagd hashes the key in its own way, so it moves
the same share and not the same keys; gateways and LiteLLM draw for each request anew, and know no slices.
"""

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from shadowlane.errors import ConfigError
from shadowlane.schemas.config import Rollout, Version
from shadowlane.schemas.events import Arm, RolloutState

FLAGD_SCHEMA = "https://flagd.dev/schema/v0/flags.json"
FINEST = 100_000  # the largest sum of two weights: thousandths of a percent


def weights(traffic_pct: float) -> tuple[int, int]:
    """(stable, candidate): whole numbers in the proportion of the traffic, to a thousandth of a percent.

    They sum to 100 where the share is a whole percentage. A share above 0 is never rounded to 0, and one below 100
    never to 100.
    """
    if traffic_pct == int(traffic_pct):
        return 100 - int(traffic_pct), int(traffic_pct)
    share = Fraction(traffic_pct) / 100
    candidate = min(FINEST - 1, max(1, round(share * FINEST)))
    return FINEST - candidate, candidate


def flagd(states: Iterable[RolloutState]) -> dict[str, Any]:
    """Flags for flagd (JSON): each rollout is one, its variants ``stable`` and ``candidate``.

    A value is the model's name, or the arm's where it has none; ``targetingKey`` is what the choice sticks to.
    Overrides are no part of it.

    Raises:
        ConfigError: a slice whose attribute flagd can't look up.
    """
    return {"$schema": FLAGD_SCHEMA, "flags": {state.rollout: _flag(state) for state in states}}


def _flag(state: RolloutState) -> dict[str, Any]:
    stable, candidate = weights(state.traffic_pct)
    share: Any = {"fractional": [["candidate", candidate], ["stable", stable]]}
    if not stable or not candidate:
        share = Arm.CANDIDATE.value if candidate else Arm.STABLE.value
    targeting: dict[str, Any] = share if isinstance(share, dict) else {}
    if state.excluded and candidate:
        condition = {"or": [_is_slice(state, name) for name in state.excluded]}
        targeting = {"if": [condition, Arm.STABLE.value, share]}
    return {
        "state": "ENABLED",
        "variants": {arm.value: value_of(state, arm) for arm in Arm},
        # Also without a key, where flagd's rule gives nothing.
        "defaultVariant": Arm.STABLE.value if stable else Arm.CANDIDATE.value,
        "targeting": targeting,
        "metadata": {"epoch": state.epoch, "stage": state.stage, "seq": state.seq},
    }


def _is_slice(state: RolloutState, name: str) -> dict[str, Any]:
    attribute, _, value = name.partition("=")
    if "." in attribute or attribute.startswith("$"):
        raise ConfigError(
            f"rollout {state.rollout!r}: flagd can't look up the attribute {attribute!r} of the excluded slice {name!r}"
            ": it would give the candidate what was taken from it; use the router or the OFREP endpoint"
        )
    return {"==": [{"var": attribute}, value]}


def value_of(state: RolloutState, arm: Arm) -> str:
    """A flag's value: the arm's model, or its name where the rollout names no model."""
    model = state.stable_model if arm == Arm.STABLE else state.candidate_model
    return model or arm.value


def gateway_api(
    state: RolloutState, *, gateway: str, stable: str, candidate: str, namespace: str = "", path: str = "/"
) -> dict[str, Any]:
    """An HTTPRoute of Kubernetes' Gateway API (v1), which splits ``path`` between two Services by weight.

    Args:
        gateway: the Gateway's name.
        stable, candidate: ``service:port``, where each version is served.

    Raises:
        ConfigError: no such ``service:port``; or a slice was taken out, which weights can't say.
    """
    _no_slices(state, "an HTTPRoute's weights")
    shares = dict(zip(Arm, weights(state.traffic_pct), strict=True))
    backends = {Arm.STABLE: _backend("stable", stable), Arm.CANDIDATE: _backend("candidate", candidate)}
    metadata: dict[str, Any] = {"name": _kubernetes_name(state.rollout)}
    if namespace:
        metadata["namespace"] = namespace
    metadata["annotations"] = {
        "shadowlane/rollout": state.rollout,
        "shadowlane/stage": state.stage,
        "shadowlane/seq": str(state.seq),
    }
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata,
        "spec": {
            "parentRefs": [{"name": gateway}],
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": path}}],
                    "backendRefs": [backends[arm] | {"weight": shares[arm]} for arm in Arm],
                }
            ],
        },
    }


def _backend(option: str, address: str) -> dict[str, Any]:
    name, _, port = address.rpartition(":")
    if not name or not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ConfigError(f"{option} is {address!r}: it must be SERVICE:PORT")
    return {"name": name, "port": int(port)}


def _kubernetes_name(rollout: str) -> str:
    """As DNS-1123 wants it: small letters, digits and hyphens."""
    return re.sub("[^a-z0-9]+", "-", rollout.lower()).strip("-")


def litellm(state: RolloutState, rollout: Rollout, *, model_name: str = "") -> dict[str, Any]:
    """What LiteLLM's router or proxy reads: ``model_list`` with one deployment for each arm that serves.

    Addresses and models are the rollout's (``base_url`` of the shadow side; keys are not copied). A deployment of
    weight 0 is left out: LiteLLM would still ask it once the other one is cooling down.

    Args:
        model_name: what services ask for; the rollout's name unless given.

    Raises:
        ConfigError: an arm that serves has no model; or a slice was taken out, which weights can't say.
    """
    _no_slices(state, "LiteLLM's weights")
    stable, candidate = weights(state.traffic_pct)
    deployments = [
        _deployment(state, arm, version, weight, model_name or state.rollout)
        for arm, version, weight in (
            (Arm.STABLE, rollout.stable, stable),
            (Arm.CANDIDATE, rollout.candidate, candidate),
        )
        if weight
    ]
    return {"model_list": deployments, "router_settings": {"routing_strategy": "simple-shuffle"}}


def _deployment(
    state: RolloutState, arm: Arm, version: Version, weight: int, model_name: str
) -> dict[str, Any]:
    model = state.stable_model if arm == Arm.STABLE else state.candidate_model
    if not model or version.kind != "openai":
        raise ConfigError(
            f"rollout {state.rollout!r}: LiteLLM needs {arm}.model, of kind openai, and there is none; name it"
        )
    if version.model != model:
        raise ConfigError(
            f"rollout {state.rollout!r} has the {arm} version {model!r}, and the configuration names "
            f"{version.model!r}: the controller has not taken the change yet, or reads another file"
        )
    if version.prompt is not None:
        raise ConfigError(
            f"rollout {state.rollout!r}: {arm}.prompt can't be said in LiteLLM's list: put it into the service, or use "
            "the router or the OFREP endpoint"
        )
    overrides: Mapping[str, Any] = state.stable_overrides if arm == Arm.STABLE else state.candidate_overrides
    parameters: dict[str, Any] = {"model": f"openai/{model}"}
    if version.base_url:
        parameters["api_base"] = version.base_url
    parameters |= {name: value for name, value in overrides.items() if value is not None}
    return {
        "model_name": model_name,
        "litellm_params": parameters | {"weight": weight},
        "model_info": {"id": f"{state.rollout}-{arm}"},
    }


def _no_slices(state: RolloutState, what: str) -> None:
    if state.excluded and state.traffic_pct:
        raise ConfigError(
            f"rollout {state.rollout!r}: the slice {state.excluded[0]!r} stays with the stable version, and {what} "
            "know no slices: use the router, the OFREP endpoint or flagd"
        )
