"""What OpenAI's clients send, read into jobs.

The fields of the protocol are declared here. Sampling parameters are those of `SamplingParams` and wishes
those of `Wishes`, whatever they are, checked there alone. A field that none knows is refused by its name,
unless it asks for nothing.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from amusd.errors import InputError
from amusd.params import SamplingParams
from amusd.serving.bodies import read_sampling
from amusd.wishes import Wishes

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails
    from pydantic_core.core_schema import CallableSchema

TOKENS_LISTED_MAX: Final = 1 << 20

# Fields of OpenAI's that do nothing here, with the values that ask for nothing.
_NOTHING_ASKED: Final[Mapping[str, tuple[object, ...]]] = {
    "best_of": (1,),
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "tool_choice": ("none",),
    "store": (False,),
    "service_tier": ("auto", "default"),
}

# Functions do not come in JSON.
_SAMPLING: Final = SamplingParams.model_fields.keys() - {"logits_processors"}

Body = TypeVar("Body", bound="_Body")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StreamOptions(_Strict):
    """What a stream carries beside text."""

    include_usage: bool = False
    continuous_usage_stats: bool = Field(default=False, description="with the other: in every piece, so far")


class TextPart(_Strict):
    """One of several parts of a message."""

    type: Literal["text"]
    text: str


class Message(_Strict):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(min_length=1, fail_fast=True)]

    def to_dict(self) -> dict[str, str]:
        """For a chat template."""
        content = self.content
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        return {"role": self.role, "content": text}


class _Body(_Strict):
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = Field(None, max_length=128)


# The first error of a list is enough: a hostile body could have millions.
TokenIds = Annotated[list[int], Field(max_length=TOKENS_LISTED_MAX, fail_fast=True)]
Texts = Annotated[list[str], Field(fail_fast=True)]


class CompletionBody(_Body):
    """Of `/v1/completions`."""

    prompt: (
        str
        | TokenIds
        | Annotated[list[str], Field(fail_fast=True)]
        | Annotated[list[TokenIds], Field(fail_fast=True)]
    )
    echo: bool | None = None
    spans: bool | None = Field(None, description="pieces of a stream tell who wrote which text")


class ChatBody(_Body):
    """Of `/v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class TokenizeBody(_Strict):
    """Of `/tokenize`: text, or a conversation."""

    model: str | None = None
    prompt: str | None = None
    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)] | None = None


class DetokenizeBody(_Strict):
    """Of `/detokenize`."""

    model: str | None = None
    tokens: TokenIds


def read_body(kind: type[Body], values: object) -> tuple[Body, SamplingParams, Wishes]:
    """The protocol's own fields, the sampling parameters and the wishes.

    Raises:
        InputError: the body is no object, or a field is unknown or refused; it is named.
    """
    own: dict[str, Any] = {}
    sampling: dict[str, Any] = {}
    wishes: dict[str, Any] = {}
    for name, value in _object(values).items():
        if name in kind.model_fields:
            own[name] = value
        elif name in _SAMPLING:
            sampling[name] = value
        elif name in Wishes.model_fields:
            wishes[name] = value
        elif value is not None and not _asks_nothing(name, value):
            raise InputError(name, _short(value), "this field is not supported, or not with this value")
    return read_plain_body(kind, own), read_sampling(sampling), Wishes.from_dict(wishes)


Plain = TypeVar("Plain", bound=_Strict)


def read_plain_body(kind: type[Plain], values: object) -> Plain:
    """A body without sampling parameters.

    Raises:
        InputError: names the field that is refused.
    """
    try:
        return kind.model_validate(_object(values))
    except ValidationError as error:
        # Of a union's complaints, the one that got furthest into the value says most.
        problem = max(error.errors(include_url=False), key=_progress)
        field = str(problem["loc"][0])
        where = ".".join(str(part) for part in problem["loc"] if isinstance(part, int) or part == field)
        message = problem["msg"][:1].lower() + problem["msg"][1:]
        raise InputError(where, _short(problem["input"]), message) from None


class _WithoutFunctions(GenerateJsonSchema):
    def callable_schema(self, schema: "CallableSchema") -> dict[str, Any]:
        return {}


def schema_of(kind: type[BaseModel]) -> dict[str, Any]:
    """JSON schema of a body for the OpenAPI description, sampling parameters and wishes included."""
    schema = kind.model_json_schema()
    if issubclass(kind, _Body):
        sampling = SamplingParams.model_json_schema(schema_generator=_WithoutFunctions)
        found = {name: sampling["properties"][name] for name in sorted(_SAMPLING)}
        schema["properties"] = found | Wishes.model_json_schema()["properties"] | schema["properties"]
    return schema


def _progress(problem: "ErrorDetails") -> tuple[int, list[int]]:
    """How far into the value a reading of it came before it failed."""
    return len(problem["loc"]), [part for part in problem["loc"] if isinstance(part, int)]


def _asks_nothing(name: str, value: object) -> bool:
    return any(value == nothing and type(value) is type(nothing) for nothing in _NOTHING_ASKED.get(name, ()))


def _object(values: object) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise InputError("body", _short(values), "give a JSON object")
    return values


def _short(value: object) -> str:
    """A value for an error message, which repeats only the beginning of what a client sent."""
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
