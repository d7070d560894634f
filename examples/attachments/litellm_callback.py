"""LiteLLM, whatever provider it asks.

OPENAI_BASE_URL=… OPENAI_API_KEY=… SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS=… python litellm_callback.py
"""

import litellm

from shadowlane import Mirror

mirror = Mirror(service="litellm-example")
litellm.callbacks.append(mirror.litellm())


def main() -> None:
    answer = litellm.completion(
        model="openai/plain", messages=[{"role": "user", "content": "Say hello."}], num_retries=2
    )
    print(answer.choices[0].message.content)


if __name__ == "__main__":
    main()
