"""How the tokens of a request are chosen, when it ends, and what comes back with it.

Names and defaults are vLLM's; `typical_p` and `bad_words_ids` are transformers', `rule` is ours. Everything
is checked when the object is made, and only there: whoever holds a `SamplingParams` holds a valid one. What
needs the vocabulary (token ids that a model has) is checked where the vocabulary is known.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from amusd.errors import InputError

RuleName = Literal["race", "topk", "rejection", "rrs", "rrsw", "kseq", "spechub"]
SEED_LIMIT: Final = 2**63
TOKENS_MAX: Final = 2**31 - 1
STOP_STRINGS_MAX: Final = 16
STOP_CHARACTERS_MAX: Final = 1024
STOP_TOKENS_MAX: Final = 1024
BAD_WORDS_MAX: Final = 1000
ALLOWED_TOKENS_MAX: Final = 2**19  # more than any vocabulary has
SEQUENCES_MAX: Final = 128
LOGPROBS_MAX: Final = 20
LOGIT_BIASES_MAX: Final = 1024
LOGIT_BIAS_MAX: Final = 100.0
SHOWN_CHARACTERS_MAX: Final = 120
GREEDY_TEMPERATURE: Final = 1e-5
"""Below this a temperature means greedy, as in vLLM: logits divided by less overflow float32."""

_LOGPROBS = f"give a whole number from 0 to {LOGPROBS_MAX}, or none"
_REMEDIES: Final = {
    "n": f"give a whole number from 1 to {SEQUENCES_MAX}",
    "temperature": "give a finite number of 0 (greedy) or more",
    "top_k": "give a whole number of 1 or more, or 0 to turn it off",
    "top_p": "give a number above 0 and at most 1",
    "min_p": "give a number from 0 to 1",
    "typical_p": "give a number above 0 and at most 1, which turns it off",
    "seed": f"give a whole number from 0 to {SEED_LIMIT - 1}, or none to have one drawn",
    "max_tokens": "give a whole number of 1 or more, or none for as many as the model holds",
    "min_tokens": "give a whole number of 0 or more, and at most max_tokens",
    "stop": f"give at most {STOP_STRINGS_MAX} strings of 1 to {STOP_CHARACTERS_MAX} characters each",
    "stop_token_ids": f"give at most {STOP_TOKENS_MAX} token ids, whole numbers of 0 or more",
    "include_stop_str_in_output": "give true or false",
    "ignore_eos": "give true or false",
    "skip_special_tokens": "give true or false",
    "presence_penalty": "give a number from -2 to 2",
    "frequency_penalty": "give a number from -2 to 2",
    "repetition_penalty": "give a finite number above 0; 1 turns it off",
    "logit_bias": f"map at most {LOGIT_BIASES_MAX} token ids to numbers from {-LOGIT_BIAS_MAX:g} to"
    f" {LOGIT_BIAS_MAX:g}",
    "allowed_token_ids": "give a list of one or more token ids, or none to allow all",
    "bad_words": f"give at most {BAD_WORDS_MAX} strings of 1 to {STOP_CHARACTERS_MAX} characters each",
    "bad_words_ids": f"give at most {2 * BAD_WORDS_MAX} lists of token ids, whole numbers of 0 or more",
    "logprobs": _LOGPROBS,
    "prompt_logprobs": _LOGPROBS,
    "rule": f"give one of {', '.join(get_args(RuleName))}, or none for the engine's own",
    "logits_processors": "give a list of functions from token ids [1, length] and scores [1, vocabulary] to"
    " scores, as transformers has them",
}


def _as_tuple(value: object) -> object:
    """A list becomes a tuple, so that frozen means frozen; one string a tuple of it, None an empty one."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _tuple_of_list(value: object) -> object:
    """A list becomes a tuple, everything else stays."""
    return tuple(value) if isinstance(value, list) else value


def _as_mapping(value: object) -> object:
    """None becomes an empty mapping."""
    return {} if value is None else value


TokenId = Annotated[int, Field(ge=0, le=TOKENS_MAX)]
Text = Annotated[str, Field(min_length=1, max_length=STOP_CHARACTERS_MAX)]
Bias = Annotated[float, Field(ge=-LOGIT_BIAS_MAX, le=LOGIT_BIAS_MAX)]
Penalty = Annotated[float, Field(ge=-2.0, le=2.0)]
LogprobCount = Annotated[int, Field(ge=0, le=LOGPROBS_MAX)]
PythonProcessor = Callable[[Any, Any], Any]
"""transformers' LogitsProcessor: [1, length] int64 token ids and [1, vocab] float32 scores to scores."""
ProcessorsOf = dict[int, tuple[PythonProcessor, ...]]
"""By request: functions cannot travel, so a target in the same process looks its requests' own up."""


class SamplingParams(BaseModel):
    """The settings of one request; immutable. None is empty for every list, except `allowed_token_ids`.

    Attributes:
        n: outputs of the same prompt; all but a greedy request's differ.
        temperature: divides the logits; 0 (and anything below 1e-5) takes the most likely token.
        top_k: keep the k most likely tokens; 0 or -1 keeps all.
        top_p: keep the most likely tokens that together reach this probability.
        min_p: drop tokens less likely than this share of the most likely one.
        typical_p: keep the tokens of the most typical information that together reach this probability.
        seed: of the race noise; None has one drawn, and returned with the output.
        max_tokens: of output, at most; None is as many as the model holds.
        min_tokens: of output before an end token may be chosen or a stop string ends the text.
        stop: strings that end the text; they are not part of it. One string may be given as it is.
        stop_token_ids: tokens that end the text, beside the model's own.
        include_stop_str_in_output: keep the stop string, or the text of the end token, in the text.
        ignore_eos: go on after the model's own end tokens.
        skip_special_tokens: leave special tokens out of the text.
        presence_penalty: taken off the logit of every token in the output.
        frequency_penalty: taken off once per occurrence in the output.
        repetition_penalty: divides positive (multiplies negative) logits of tokens in prompt or output.
        logit_bias: token id to what is added to its logit.
        allowed_token_ids: no other token is chosen.
        bad_words: strings whose last token is not chosen where the output ends with the tokens before it.
        bad_words_ids: the same as token ids.
        logprobs: most likely tokens whose log-probabilities come back for each output token, beside its own;
            they are the model's, before temperature, penalties and bans.
        prompt_logprobs: the same for each token of the prompt.
        rule: how drafts are drawn and accepted (docs/rules.md): `race` or `topk`, which write the target's
            own bytes whatever the engine's rule is; or that one, which None means too.
        logits_processors: Python functions as transformers has them, each a pure function of the token ids
            before a row and its scores; only where the target runs in this process (launcher `inprocess`).

    Raises:
        InputError: naming the field, the value and what to give instead.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    n: int = Field(default=1, ge=1, le=SEQUENCES_MAX)
    temperature: float = Field(default=1.0, ge=0.0)
    top_k: int = Field(default=0, ge=-1, le=TOKENS_MAX)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    min_p: float = Field(default=0.0, ge=0.0, le=1.0)
    typical_p: float = Field(default=1.0, gt=0.0, le=1.0)
    seed: int | None = Field(default=None, ge=0, lt=SEED_LIMIT)
    max_tokens: int | None = Field(default=16, ge=1, le=TOKENS_MAX)
    min_tokens: int = Field(default=0, ge=0, le=TOKENS_MAX)
    stop: Annotated[tuple[Text, ...], BeforeValidator(_as_tuple), Field(max_length=STOP_STRINGS_MAX)] = ()
    stop_token_ids: Annotated[
        tuple[TokenId, ...], BeforeValidator(_as_tuple), Field(max_length=STOP_TOKENS_MAX)
    ] = ()
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    repetition_penalty: float = Field(default=1.0, gt=0.0)
    logit_bias: Annotated[
        dict[TokenId, Bias], BeforeValidator(_as_mapping), Field(max_length=LOGIT_BIASES_MAX)
    ] = Field(default_factory=dict)
    allowed_token_ids: Annotated[
        Annotated[tuple[TokenId, ...], Field(min_length=1, max_length=ALLOWED_TOKENS_MAX)] | None,
        BeforeValidator(_tuple_of_list),
    ] = None
    bad_words: Annotated[tuple[Text, ...], BeforeValidator(_as_tuple), Field(max_length=BAD_WORDS_MAX)] = ()
    bad_words_ids: Annotated[
        tuple[Annotated[tuple[TokenId, ...], BeforeValidator(_tuple_of_list), Field(min_length=1)], ...],
        BeforeValidator(_as_tuple),
        Field(max_length=2 * BAD_WORDS_MAX),
    ] = ()
    logprobs: LogprobCount | None = None
    prompt_logprobs: LogprobCount | None = None
    rule: RuleName | None = None
    logits_processors: Annotated[tuple[PythonProcessor, ...], BeforeValidator(_as_tuple)] = ()

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise input_error(error, values, _REMEDIES) from None
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise InputError(
                "min_tokens", self.min_tokens, f"give at most max_tokens, which is {self.max_tokens}"
            )
        if self.n > 1 and self.greedy:
            raise InputError("n", self.n, "at temperature 0 all outputs are the same: give 1")

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is taken, without noise."""
        return self.temperature < GREEDY_TEMPERATURE

    def token_ids(self) -> dict[str, tuple[int, ...]]:
        """Every token id that a field names, by field: what has to be in a vocabulary."""
        return {
            "stop_token_ids": self.stop_token_ids,
            "logit_bias": tuple(self.logit_bias),
            "allowed_token_ids": self.allowed_token_ids or (),
            "bad_words_ids": tuple(token for word in self.bad_words_ids for token in word),
        }

    def to_dict(self) -> dict[str, Any]:
        """What differs from the defaults, in plain JSON types; `from_dict` is its inverse.

        Python logits processors are left out: they never leave their process.
        """
        return self.model_dump(mode="json", exclude_defaults=True, exclude={"logits_processors"})

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


def input_error(error: ValidationError, values: Mapping[str, Any], remedies: Mapping[str, str]) -> InputError:
    """The first of pydantic's findings, in this project's words.

    Args:
        values: that were given, by field.
        remedies: what to give, of every field there is.
    """
    found = error.errors(include_url=False)[0]
    field = str(found["loc"][0])
    known = field in remedies
    remedy = remedies[field] if known else f"unknown; known are {', '.join(remedies)}"
    return InputError(field, _shortened(values[field]), remedy)


def _shortened(value: object) -> object:
    """The value, or its beginning where an error message of one line could not hold it."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of {value.bit_length()} bits"
    shown = value if isinstance(value, str) and value.isprintable() else repr(value)
    return value if len(shown) <= SHOWN_CHARACTERS_MAX else f"{shown[:SHOWN_CHARACTERS_MAX]}..."
