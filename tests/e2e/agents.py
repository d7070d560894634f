"""Twenty conversations with an agent: what both models say at each step, and tools that note who ran them.

A model's answer follows from the conversation's number and the step, which is the number of its answers so far.
"""

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from examples.agent.agent import Tools

CONVERSATIONS = 20
Calls = list[tuple[str, dict[str, Any]]]
Step = Calls | str  # the tools that are called, all at once; or what is said

PAY = ("refund", {"order": "A-17", "amount": 39.9})
FOUND = ("look_up", {"order": "A-17"})
DIVERGES: dict[int, tuple[int, Step]] = {
    3: (3, [("refund", {"order": "A-17", "amount": 100})]),  # other arguments, in the second turn
    5: (2, "I have paid you back."),  # says so, and calls nothing
    8: (1, [("refund", {"order": "A-17", "amount": 39.9})]),  # another tool
    10: (1, [FOUND]),  # the order that is there, which the stable model did not ask for
    13: (1, [FOUND]),  # one of two
}
"""Conversation -> the step at which the candidate goes another way, and how."""


def script(number: int) -> tuple[list[str], list[Step]]:
    """(what the user says, what the stable model does at each step)."""
    asks = f"Conversation {number}: where is my order A-17?"
    match number % 4:
        case 0:
            return [asks], [[FOUND], "It is lost."]
        case 1:  # two at once, then one with an effect
            both: Calls = [FOUND, ("look_up", {"order": "A-18"})]
            return [asks], [both, [PAY], "You have your money back."]
        case 2:  # a tool fails, and another attempt does not
            return [asks], [[("look_up", {"order": "A-71"})], [FOUND], "It is lost."]
        case _:  # the user goes on
            return [asks, "Then pay me."], [[FOUND], "It is lost.", [PAY], "Done."]


class Models(BaseHTTPRequestHandler):
    """``/v1`` is the stable model, ``/shadow/v1`` the candidate."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        arm = "candidate" if self.path.startswith("/shadow/") else "stable"
        step = 1 + sum(message["role"] == "assistant" for message in body["messages"])
        found = re.match(r"Conversation (\d+)", body["messages"][1]["content"])
        number = int(found[1]) if found else 7
        with self.server.lock:
            self.server.saw[arm, number, step] = (body, self.headers.get("x-shadowlane-shadow"))
            self.server.calls[arm, number, step] += 1
            if "web_search_options" in body and arm == "candidate":
                self.server.trapped.append("the provider searched the web")
        said: Step = script(number)[1][step - 1]
        if arm == "candidate" and DIVERGES.get(number, (0, ""))[0] == step:
            said = DIVERGES[number][1]
        payload = json.dumps(completion(body["model"], said, f"{number}-{step}")).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        pass


def completion(model: str, said: Step, name: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said if isinstance(said, str) else None}
    if not isinstance(said, str):
        message["tool_calls"] = [
            {
                "id": f"call-{name}-{at}",
                "type": "function",
                "function": {"name": tool, "arguments": json.dumps(arguments)},
            }
            for at, (tool, arguments) in enumerate(said)
        ]
    reason = "stop" if isinstance(said, str) else "tool_calls"
    choices = [{"index": 0, "message": message, "finish_reason": reason}]
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    about = {"id": name, "object": "chat.completion", "created": 1, "model": f"{model}-2026-11-01"}
    return {**about, "choices": choices, "usage": usage}


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Models)
        self.lock = threading.Lock()
        self.saw: dict[tuple[str, int, int], tuple[dict[str, Any], str | None]] = {}
        self.calls: Counter[tuple[str, int, int]] = Counter()
        self.trapped: list[str] = []

    def context(self, arm: str, number: int, step: int) -> Any:
        """The messages that an arm was asked with."""
        return self.saw[arm, number, step][0]["messages"]


@contextmanager
def models(port: int = 0) -> Iterator[Server]:
    server = Server(port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Trap:
    """Tools that note each run of theirs, and whether production was what ran them."""

    def __init__(self, tools: Tools) -> None:
        self.tools: Tools = {name: self._noting(name, tool) for name, tool in tools.items()}
        self.in_production = False
        self.runs: Counter[tuple[str, str]] = Counter()
        self.trapped: list[str] = []

    @contextmanager
    def production(self) -> Iterator[None]:
        self.in_production = True
        try:
            yield
        finally:
            self.in_production = False

    def _noting(self, name: str, tool: Any) -> Any:
        def run(**arguments: Any) -> Any:
            if not self.in_production:
                self.trapped.append(f"{name} ran outside of production")
            self.runs[name, json.dumps(arguments, sort_keys=True)] += 1
            return tool(**arguments)

        return run


def runs_of_production() -> Counter[tuple[str, str]]:
    """What the tools are asked in all conversations, as the stable model has it."""
    calls = [
        step for number in range(CONVERSATIONS) for step in script(number)[1] if not isinstance(step, str)
    ]
    return Counter((tool, json.dumps(asked, sort_keys=True)) for step in calls for tool, asked in step)
