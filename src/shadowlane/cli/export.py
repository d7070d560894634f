"""`shadowlane rollout export …`."""

import orjson
import typer
import yaml

from shadowlane.cli.store import reader
from shadowlane.errors import ConfigError
from shadowlane.rollout import exports
from shadowlane.rollout.log import read_heads
from shadowlane.schemas.config import Rollout, Settings
from shadowlane.schemas.events import RolloutState


def run_flagd(settings: Settings, name: str | None) -> None:
    """Prints flagd's JSON. Raises ConfigError where nothing has begun."""
    states = [state for _, state in _begun(settings, name)]
    typer.echo(orjson.dumps(exports.flagd(states), option=orjson.OPT_INDENT_2).decode())


def run_gateway_api(
    settings: Settings,
    name: str | None,
    *,
    gateway: str,
    stable: str,
    candidate: str,
    namespace: str,
    path: str,
) -> None:
    """Prints an HTTPRoute. Raises ConfigError where the rollout has not begun, or weights can't say its state."""
    rollout = settings.rollout(name)
    ((_, state),) = _begun(settings, rollout.name)
    route = exports.gateway_api(
        state, gateway=gateway, stable=stable, candidate=candidate, namespace=namespace, path=path
    )
    typer.echo(yaml.safe_dump(route, sort_keys=False), nl=False)


def run_litellm(settings: Settings, name: str | None, *, model_name: str) -> None:
    """Prints LiteLLM's model_list. Raises ConfigError as `run_gateway_api` does."""
    rollout = settings.rollout(name)
    ((_, state),) = _begun(settings, rollout.name)
    typer.echo(
        yaml.safe_dump(exports.litellm(state, rollout, model_name=model_name), sort_keys=False), nl=False
    )


def _begun(settings: Settings, name: str | None) -> list[tuple[Rollout, RolloutState]]:
    chosen = [settings.rollout(name)] if name else list(settings.rollouts)
    heads = read_heads(reader(settings), [rollout.name for rollout in chosen])
    if not heads:
        raise ConfigError("no rollout has begun: no controller has seen one yet (shadowlane run controller)")
    return [(rollout, heads[rollout.name].for_routers) for rollout in chosen if rollout.name in heads]
