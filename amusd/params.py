"""How the tokens of a request are chosen, and when it ends.

Names and defaults are vLLM's. Everything is checked when the object is made, and only there: whoever
holds a `SamplingParams` holds a valid one. What needs the vocabulary (token ids that a model has) is
checked where the vocabulary is known.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from amusd.errors import InputError

SEED_LIMIT: Final = 2**63
TOKENS_MAX: Final = 2**31 - 1
STOP_STRINGS_MAX: Final = 16
STOP_CHARACTERS_MAX: Final = 1024
STOP_TOKENS_MAX: Final = 1024
LOGIT_BIASES_MAX: Final = 1024
LOGIT_BIAS_MAX: Final = 100.0
SHOWN_CHARACTERS_MAX: Final = 120
GREEDY_TEMPERATURE: Final = 1e-5
"""Below this a temperature means greedy, as in vLLM: logits divided by less overflow float32."""

_REMEDIES: Final = {
    "temperature": "give a finite number of 0 (greedy) or more",
    "top_k": "give a whole number of 1 or more, or 0 to turn it off",
    "top_p": "give a number above 0 and at most 1",
    "min_p": "give a number from 0 to 1",
    "seed": f"give a whole number from 0 to {SEED_LIMIT - 1}, or none to have one drawn",
    "max_tokens": "give a whole number of 1 or more",
    "min_tokens": "give a whole number of 0 or more, and at most max_tokens",
    "stop": f"give at most {STOP_STRINGS_MAX} strings of 1 to {STOP_CHARACTERS_MAX} characters each",
    "stop_token_ids": f"give at most {STOP_TOKENS_MAX} token ids, whole numbers of 0 or more",
    "ignore_eos": "give true or false",
    "presence_penalty": "give a number from -2 to 2",
    "frequency_penalty": "give a number from -2 to 2",
    "repetition_penalty": "give a finite number above 0; 1 turns it off",
    "logit_bias": f"map at most {LOGIT_BIASES_MAX} token ids to numbers from {-LOGIT_BIAS_MAX:g} to"
    f" {LOGIT_BIAS_MAX:g}",
}


def _as_tuple(value: object) -> object:
    """A list becomes a tuple, so that frozen means frozen; one string a tuple of it, None an empty one."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _as_mapping(value: object) -> object:
    """None becomes an empty mapping."""
    return {} if value is None else value


TokenId = Annotated[int, Field(ge=0, le=TOKENS_MAX)]
StopString = Annotated[str, Field(min_length=1, max_length=STOP_CHARACTERS_MAX)]
Bias = Annotated[float, Field(ge=-LOGIT_BIAS_MAX, le=LOGIT_BIAS_MAX)]
Penalty = Annotated[float, Field(ge=-2.0, le=2.0)]


class SamplingParams(BaseModel):
    """The settings of one request; immutable. None for `stop`, `stop_token_ids` or `logit_bias` is empty.

    Attributes:
        temperature: divides the logits; 0 (and anything below 1e-5) takes the most likely token.
        top_k: keep the k most likely tokens; 0 or -1 keeps all.
        top_p: keep the most likely tokens that together reach this probability.
        min_p: drop tokens less likely than this share of the most likely one.
        seed: of the race noise; None has one drawn, and returned with the output.
        max_tokens: of output, at most.
        min_tokens: of output before an end token may be chosen.
        stop: strings that end the text; they are not part of it. One string may be given as it is.
        stop_token_ids: tokens that end the text, beside the model's own.
        ignore_eos: go on after the model's own end tokens.
        presence_penalty: taken off the logit of every token in the output.
        frequency_penalty: taken off once per occurrence in the output.
        repetition_penalty: divides positive (multiplies negative) logits of tokens in prompt or output.
        logit_bias: token id to what is added to its logit.

    Raises:
        InputError: naming the field, the value and what to give instead.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    temperature: float = Field(default=1.0, ge=0.0)
    top_k: int = Field(default=0, ge=-1, le=TOKENS_MAX)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    min_p: float = Field(default=0.0, ge=0.0, le=1.0)
    seed: int | None = Field(default=None, ge=0, lt=SEED_LIMIT)
    max_tokens: int = Field(default=16, ge=1, le=TOKENS_MAX)
    min_tokens: int = Field(default=0, ge=0, le=TOKENS_MAX)
    stop: Annotated[
        tuple[StopString, ...], BeforeValidator(_as_tuple), Field(max_length=STOP_STRINGS_MAX)
    ] = ()
    stop_token_ids: Annotated[
        tuple[TokenId, ...], BeforeValidator(_as_tuple), Field(max_length=STOP_TOKENS_MAX)
    ] = ()
    ignore_eos: bool = False
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    repetition_penalty: float = Field(default=1.0, gt=0.0)
    logit_bias: Annotated[
        dict[TokenId, Bias], BeforeValidator(_as_mapping), Field(max_length=LOGIT_BIASES_MAX)
    ] = Field(default_factory=dict)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _input_error(error, values) from None
        if self.min_tokens > self.max_tokens:
            raise InputError(
                "min_tokens", self.min_tokens, f"give at most max_tokens, which is {self.max_tokens}"
            )

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is taken, without noise."""
        return self.temperature < GREEDY_TEMPERATURE

    def to_dict(self) -> dict[str, Any]:
        """What differs from the defaults, in plain JSON types; `from_dict` is its inverse."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SamplingParams":
        """Read what `to_dict` wrote; JSON's text keys of `logit_bias` are token ids again.

        Raises:
            InputError: as the constructor does.
        """
        values = dict(values)
        bias = values.get("logit_bias")
        if isinstance(bias, Mapping):
            values["logit_bias"] = {_token_id(key): value for key, value in bias.items()}
        return cls(**values)


def _token_id(key: object) -> object:
    is_number = isinstance(key, str) and key.isascii() and key.isdigit()
    return int(str(key)) if is_number else key


def _input_error(error: ValidationError, values: Mapping[str, Any]) -> InputError:
    """The first of pydantic's findings, in this project's words."""
    found = error.errors(include_url=False)[0]
    field = str(found["loc"][0])
    known = field in _REMEDIES
    remedy = _REMEDIES[field] if known else f"unknown; known are {', '.join(_REMEDIES)}"
    return InputError(field, _shortened(values[field]), remedy)


def _shortened(value: object) -> object:
    """The value, or its beginning where an error message of one line could not hold it."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of {value.bit_length()} bits"
    shown = value if isinstance(value, str) and value.isprintable() else repr(value)
    return value if len(shown) <= SHOWN_CHARACTERS_MAX else f"{shown[:SHOWN_CHARACTERS_MAX]}..."
