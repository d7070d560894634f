"""A candidate for tests: an OpenAI-compatible server whose answers, good and bad, follow from the prompt."""

import argparse
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def answer(prompt: str) -> str:
    """What both models say to a prompt, where nothing is wrong."""
    return json.dumps({"ticket": prompt, "category": ["refund", "delivery", "praise"][len(prompt) % 3]})


class Candidate(BaseHTTPRequestHandler):
    """``/v1`` answers as the stable model does; ``/faulty/v1`` fails on every prompt that ends with a 7."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = body["messages"][-1]["content"]
        if self.path.startswith("/faulty") and prompt.endswith("7"):
            self._send(400, {"error": {"message": "no", "type": "invalid_request_error"}})
            return
        message = {"role": "assistant", "content": answer(prompt)}
        usage = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        self._send(
            200,
            {
                "object": "chat.completion",
                "model": body.get("model", "m"),
                "choices": choices,
                "usage": usage,
            },
        )

    def _send(self, status: int, document: object) -> None:
        payload = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    server = Server(("127.0.0.1", parser.parse_args().port), Candidate)
    print("candidate: ready", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)
