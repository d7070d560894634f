"""What a shadow request might do beside being answered, found before anything is sent. Pure.

A model's API has no side effect but its bill, until a request hands it tools that the provider runs itself, or state
that the provider keeps for production. A web service may do anything, so it is never the one that production asked.
What is in doubt is refused: the pair says why, and ``allow`` of the version lets it through by name.

Tools of the service's own are none of these: the model asks for them, and nobody runs them here.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from shadowlane.schemas.events import Protocol

PRODUCTION_HOST = "production_host"
NEVER = frozenset({"conversation"})
"""What can't be allowed: the provider would add the candidate's answer to production's own conversation."""

_CHAT, _RESPONSES, _MESSAGES, _CONVERSE = (
    Protocol.OPENAI_CHAT.value,
    Protocol.OPENAI_RESPONSES.value,
    Protocol.ANTHROPIC_MESSAGES.value,
    Protocol.BEDROCK_CONVERSE.value,
)
# Tools that a model asks for and the service runs. Any other is the provider's, or one that nobody here knows.
_OF_THE_SERVICE: Mapping[str, frozenset[str]] = {
    _CHAT: frozenset({"function", "custom"}),
    _RESPONSES: frozenset(
        {
            "function",
            "custom",
            "computer",
            "computer_use_preview",
            "local_shell",
            "apply_patch",
            "tool_search",
        }
    ),
    _MESSAGES: frozenset(
        {
            *("custom", "bash", "computer", "memory", "text_editor"),
            *("tool_search_tool_regex", "tool_search_tool_bm25"),  # looks through the request's own tools
        }
    ),
}
_IS_RUN = "the provider would run tools for it"
_IS_KEPT = "the provider keeps it, and what is in it is not in the record"
_MEMBERS: Mapping[str, Mapping[str, str]] = {
    _CHAT: {
        "web_search_options": _IS_RUN,
        "plugins": _IS_RUN,  # OpenRouter's
        "search_parameters": _IS_RUN,  # xAI's
        "enable_search": _IS_RUN,  # Qwen's
    },
    _RESPONSES: {
        "conversation": "the provider would add the answer to production's conversation",
        "previous_response_id": _IS_KEPT,
        "prompt": _IS_KEPT,
        "plugins": _IS_RUN,
    },
    _MESSAGES: {"mcp_servers": _IS_RUN, "container": "it is production's container, with its files"},
    _CONVERSE: {"promptVariables": _IS_KEPT},
}
_DATED = re.compile(r"_20\d{6}$")


def side_effect(body: Any, protocol: str, allowed: Collection[str] = ()) -> str:
    """Why a request of an API of models (``protocol``) may not be sent; ``""`` where it may, and of anything else."""
    members = _MEMBERS.get(protocol)
    if members is None or not isinstance(body, dict):
        return ""
    if not members.keys().isdisjoint(body):
        for name in members.keys() & body.keys():
            if body[name] and (name in NEVER or name not in allowed):
                return f"{name}: {members[name]}{_remedy(name)}"
    if protocol == _CONVERSE:
        return _system_tool(body.get("toolConfig"), allowed)
    if (tools := body.get("tools")) and (found := _tool_of_the_provider(tools, protocol, allowed, "tools")):
        return found
    if protocol == _RESPONSES and "item_reference" not in allowed and isinstance(body.get("input"), list):
        for number, item in enumerate(body["input"]):
            if isinstance(item, dict) and item.get("type") == "item_reference":
                return f"input[{number}] is an item_reference: {_IS_KEPT}{_remedy('item_reference')}"
    return ""


def take_out(body: dict[str, Any], protocol: str, wanted: Collection[str] = ()) -> tuple[str, ...]:
    """Takes out of a request, in place, what the provider would do beside answering; names what was asked for.

    What is ``wanted`` by name stays.

    Nothing of production's is stored a second time, and nothing runs on in the background. ``store`` is not named: it
    says nothing to the model.
    """
    if protocol == _CHAT:
        if body.get("store") and "store" not in wanted:
            body["store"] = False
    elif protocol == _RESPONSES:
        if "store" not in wanted:
            body["store"] = False  # the default is to store it
        if "background" not in wanted and body.pop("background", None):
            return ("background",)
    return ()


def same_host(one: str, other: str) -> bool:
    """Whether two hosts, ``name`` or ``name:port``, may be the same server.

    A port that is not named may be any: production may be behind another one than it listens on. ``*.example.com``
    is every host below that.
    """
    (name, port), (other_name, other_port) = _split(one), _split(other)
    if not name or not other_name or (port and other_port and port != other_port):
        return False
    if other_name.startswith("*."):
        return name.endswith(other_name[1:])
    return name == other_name


def _tool_of_the_provider(tools: Any, protocol: str, allowed: Collection[str], where: str) -> str:
    if not isinstance(tools, list):
        return ""
    of_the_service = _OF_THE_SERVICE[protocol]
    for number, tool in enumerate(tools):
        if not isinstance(tool, dict) or (kind := tool.get("type")) is None or str(kind) in of_the_service:
            continue
        name = _DATED.sub("", str(kind))
        if name in of_the_service or name in allowed or (name == "shell" and _is_local(tool)):
            continue
        place = f"{where}[{number}]"
        if name == "namespace":
            if found := _tool_of_the_provider(tool.get("tools"), protocol, allowed, f"{place}.tools"):
                return found
            continue
        return f"{place} is of type {kind!r}: the provider would run it{_remedy(name)}"
    return ""


def _system_tool(config: Any, allowed: Collection[str]) -> str:
    """Of Bedrock's Converse, which calls a tool of its own a system tool."""
    tools = config.get("tools") if isinstance(config, dict) else None
    for number, tool in enumerate(tools if isinstance(tools, list) else ()):
        system = tool.get("systemTool") if isinstance(tool, dict) else None
        name = str(system.get("name")) if isinstance(system, dict) else ""
        if name and name not in allowed:
            return f"toolConfig.tools[{number}] is {name!r}: the provider would run it{_remedy(name)}"
    return ""


def _is_local(shell: Mapping[str, Any]) -> bool:
    environment = shell.get("environment")
    return isinstance(environment, dict) and environment.get("type") == "local"


def _remedy(name: str) -> str:
    return "" if name in NEVER else f" (the version's allow: [{name}] lets it)"


def _split(host: str) -> tuple[str, str]:
    """(name, port): in lower case, without the dot that may end a name; the port "" where it is not named."""
    host = host.lower()
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        return name, port.removeprefix(":")
    name, _, port = host.partition(":")
    return (host, "") if ":" in port else (name.rstrip("."), port)  # an IPv6 address may have no brackets
