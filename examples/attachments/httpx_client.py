"""An HTTP client, httpx2 or httpx, for an SDK that is given one, or for none at all.

MODEL_URL=http://…/v1 SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS=… python httpx_client.py
"""

import os

import httpx2

from shadowlane import Mirror

mirror = Mirror(service="httpx-example")
http = mirror.wrap(httpx2.Client(), route="greetings")


def main() -> None:
    asked = {"model": "plain", "messages": [{"role": "user", "content": "Say hello."}]}
    answer = http.post(f"{os.environ['MODEL_URL']}/chat/completions", json=asked)
    print(answer.json()["choices"][0]["message"]["content"])


if __name__ == "__main__":
    main()
