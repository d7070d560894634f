"""A client of openai: chat completions, responses, streams; AsyncOpenAI and AzureOpenAI alike.

OPENAI_BASE_URL=… OPENAI_API_KEY=… SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS=… python openai_client.py
"""

import openai

from shadowlane import Mirror

mirror = Mirror(service="openai-example")
client = mirror.wrap(openai.OpenAI())


def main() -> None:
    with mirror.context(key="user-7", attributes={"prompt": "greeting-v2"}):
        stream = client.chat.completions.create(
            model="stream", messages=[{"role": "user", "content": "Say hello."}], stream=True
        )
        for chunk in stream:
            print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="")
    print()


if __name__ == "__main__":
    main()
