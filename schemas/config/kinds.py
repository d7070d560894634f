"""What the kinds of versions need beside an address and a model: templates, a callable, a region, a prompt."""

from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import AfterValidator, Field

from shadowlane.schemas import pointer
from shadowlane.schemas.config.section import Section

ApiKind = Literal["openai", "openai-responses", "anthropic"]


def _pointer(text: str) -> str:
    pointer.parse(text)
    return text


def _template(template: Any) -> Any:
    pointer.check(template)
    return template


Pointer = Annotated[str, AfterValidator(_pointer)]
Template = Annotated[Any, AfterValidator(_template)]


class Prompt(Section):
    """What a version's system prompt is, beside what the request says."""

    replace: str | None = Field(
        default=None, description="in place of the request's system prompt; '' takes that out"
    )
    prepend: str = Field(default="", description="before the request's system prompt")
    append: str = Field(default="", description="after the request's system prompt")

    @pydantic.model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.replace is not None and (self.prepend or self.append):
            raise ValueError("'replace' is the whole prompt: put what goes before and after it into its text")
        if self.replace is None and not (self.prepend or self.append):
            raise ValueError("a prompt has 'replace', 'prepend' or 'append'")
        return self


class HttpToolCalls(Section):
    """Where the tool calls of an answer are. ``name`` and ``arguments`` are pointers into each of them."""

    at: Pointer = Field(description="the list of the calls; one call alone is taken too")
    name: Pointer = "/name"
    arguments: Pointer = Field(default="/arguments", description="an object, or JSON text")


class HttpAnswer(Section):
    """Where what an answer says stands in it: JSON pointers, ``""`` being all of it."""

    output: Pointer = Field(default="", description="the text; of anything else its JSON")
    tool_calls: HttpToolCalls | None = None
    finish_reason: Pointer | None = None
    finish_reasons: dict[str, str] = Field(
        default_factory=dict, description="the service's words for stop, length, tool_calls, content_filter"
    )
    model: Pointer | None = None
    input_tokens: Pointer | None = None
    output_tokens: Pointer | None = None
    error: Pointer | None = Field(
        default=None,
        description="what is there, be the status 200, is a failure; null, false, '', 0, [] and {} are none",
    )


class Http(Section):
    """How a service with a form of its own is asked, and its answer read. Without it the body goes as it is."""

    method: Literal["POST", "PUT", "PATCH", "GET"] = "POST"
    path: str = Field(default="", pattern=r"^(/[^\s?#]*)?$", description="after base_url")
    api: ApiKind | None = Field(
        default=None,
        description="the API that body and query are written for: requests of other APIs are translated to it first",
    )
    query: dict[str, Template] = Field(
        default_factory=dict, description="of the address: each a text, or a template of one"
    )
    body: Template | None = Field(default=None, description="a template; null: the request as it is")
    answer: HttpAnswer | None = Field(
        default=None, description="null: the answer of a model's API as that; of anything else its JSON"
    )

    @pydantic.model_validator(mode="after")
    def _a_get_has_no_body(self) -> Self:
        if self.method == "GET" and self.body is not None:
            raise ValueError("a GET has no 'body': put what it asks into query, or make method POST")
        return self


class Python(Section):
    """A callable that answers, in processes of its own."""

    callable: str = Field(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$", description="module:function, sync or async"
    )
    allow_code_execution: bool = Field(
        default=False,
        description="must be true: what the callable does, it does on every request, and nobody else guards it",
    )
    processes: Annotated[int, Field(ge=1, le=256)] = Field(
        default=1, description="each runs one call of a function, or any number of a coroutine function"
    )
    memory_mb: Annotated[int, Field(ge=64)] | None = Field(
        default=None, description="of each process (Linux); null: no limit"
    )
    start_s: Annotated[float, Field(gt=0)] = Field(
        default=60.0, description="how long a process may take to import and be ready"
    )
    api: ApiKind | None = Field(
        default=None,
        description="what it is handed: requests of other APIs are translated; null: as they are",
    )

    @pydantic.model_validator(mode="after")
    def _wanted(self) -> Self:
        if not self.allow_code_execution:
            raise ValueError(
                f"'callable' {self.callable} would run with all that the worker may do, once for each mirrored "
                "request: see that it writes, sends and bills nothing, then say allow_code_execution: true"
            )
        return self


class Bedrock(Section):
    """Where Amazon Bedrock is, and who asks. Keys come from where AWS' own tools look for them."""

    region: str = Field(default="", description="else AWS_REGION, AWS_DEFAULT_REGION, or the profile's")
    profile: str = Field(default="", description="else AWS_PROFILE, or the default one")
