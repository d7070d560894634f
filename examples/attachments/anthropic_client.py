"""A client of anthropic: messages, whole and streamed; AsyncAnthropic alike.

ANTHROPIC_BASE_URL=… ANTHROPIC_API_KEY=… SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS=… python anthropic_client.py
"""

import anthropic

from shadowlane import Mirror

mirror = Mirror(service="anthropic-example")
client = mirror.wrap(anthropic.Anthropic())


def main() -> None:
    answer = client.messages.create(
        model="messages", max_tokens=100, messages=[{"role": "user", "content": "Say hello."}]
    )
    print("".join(block.text for block in answer.content if block.type == "text"))


if __name__ == "__main__":
    main()
