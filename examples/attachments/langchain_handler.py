"""LangChain, whatever provider its chat model asks.

OPENAI_BASE_URL=… OPENAI_API_KEY=… SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS=… python langchain_handler.py
"""

from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

from shadowlane import Mirror

mirror = Mirror(service="langchain-example")
handler = mirror.langchain()


def main() -> None:
    prompt = ChatPromptTemplate.from_messages([("system", "Be short."), ("user", "{question}")])
    chain = prompt | ChatOpenAI(model="plain").with_retry()
    print(chain.invoke({"question": "Say hello."}, config={"callbacks": [handler]}).content)


if __name__ == "__main__":
    main()
