"""Prompts before anything is started: read and checked with tokenizer and configurations alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedConfig

from amusd.batches import Prompt
from amusd.config import RANDOM_DRAFT, EngineConfig
from amusd.coordinator.admission import check_request
from amusd.errors import InputError, ModelError
from amusd.models.families import text_config
from amusd.models.loading import ModelSpec, check_options, default_context, load_config, load_tokenizer
from amusd.models.vocabulary import check_vocabularies
from amusd.params import SamplingParams

__all__ = ["Prompt", "PromptReader"]


class PromptReader:
    """What an engine takes as a prompt; reading its models' configurations and tokenizers loads no weights.

    Attributes:
        config: of the engine.
        tokenizer: the target's; the draft is known to speak its tokens.
        vocabulary_size: tokens that a prompt may hold.
        length_max: most tokens of prompt and output together.

    Raises:
        InputError: a model does not exist, the draft's tokens mean something else, or a length or size of the
            configuration is not the target's.
        ModelError: a model that cannot be run.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        target = ModelSpec(
            config.target,
            revision=config.revision,
            trust_remote_code=config.trust_remote_code,
            quantization=config.quantization_config,
            widen=config.widen,
            role="target",
        )
        model = load_config(target)  # first, so that a broken model is named as such
        self.tokenizer = _tokenizer(target)
        if not self.tokenizer.is_fast:
            raise ModelError(
                f"target: {target.name}: its tokenizer has no tokenizer.json; give a model that has one"
            )
        for draft in config.model_drafts:
            self._check_draft(draft, model)
        check_options(target, model, config.max_model_len)
        self.vocabulary_size = min(len(self.tokenizer), text_config(model).vocab_size)
        self.length_max = config.max_model_len or default_context(model)
        self._positions: int | None = getattr(text_config(model), "max_position_embeddings", None)
        if config.draft is not None and config.num_speculative_tokens >= self.length_max:
            remedy = f"give less than max_model_len, {self.length_max}"
            raise InputError("num_speculative_tokens", config.num_speculative_tokens, remedy)

    def _check_draft(self, name: str, target: PreTrainedConfig) -> None:
        if name == RANDOM_DRAFT:
            return  # it has no tokenizer
        revision, trust = self.config.draft_revision, self.config.trust_remote_code
        spec = ModelSpec(name, revision=revision, trust_remote_code=trust, role="draft")
        size = text_config(load_config(spec)).vocab_size
        ours, own_size = self.tokenizer, text_config(target).vocab_size
        check_vocabularies(ours, own_size, _tokenizer(spec), size, draft_name=name)

    def read(self, prompt: Prompt) -> list[int]:
        """The token ids of a prompt given as text or as ids.

        Raises:
            InputError: it is empty, or neither text nor a list of whole numbers.
        """
        if isinstance(prompt, bytes) or not isinstance(prompt, Sequence):
            raise InputError("prompt", prompt, "give text, or a list of token ids")
        if not isinstance(prompt, str):
            return list(prompt)
        if not prompt:
            raise InputError("prompt", "", "it is empty: give at least one character")
        return self._encode(prompt, special=True)

    def read_chat(self, message: str) -> list[int]:
        """The token ids that the tokenizer's chat template makes of one user message.

        Raises:
            InputError: the tokenizer has no chat template.
        """
        if not self.tokenizer.chat_template:
            remedy = "the tokenizer has no chat template: leave --chat out, or use a chat model"
            raise InputError("chat", self.config.target, remedy)
        return self.read_messages([{"role": "user", "content": message}])

    def read_messages(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The token ids that the tokenizer's chat template makes of a conversation.

        Args:
            messages: each with a role and its content; the answer to come is the assistant's.

        Raises:
            InputError: the tokenizer has no chat template, or its template refuses the conversation.
        """
        if not self.tokenizer.chat_template:
            remedy = "its tokenizer has no chat template: use a chat model, or serve it with --chat-template"
            raise InputError("messages", self.config.target, remedy)
        # As ids, not as text: encoding the text again would add a second beginning-of-text token.
        try:
            text = self.tokenizer.apply_chat_template(
                [dict(message) for message in messages], tokenize=False, add_generation_prompt=True
            )
        except TemplateError as error:
            roles = "roles " + ", ".join(message["role"] for message in messages)
            raise InputError("messages", roles, f"the chat template refuses them: {error}") from None
        return self._encode(text, special=False)

    def check(self, tokens: Sequence[int], params: SamplingParams) -> None:
        """Refuse what cannot be decoded.

        Raises:
            InputError: names the field and what is wrong with it.
        """
        check_request(
            tokens,
            params,
            vocabulary_size=self.vocabulary_size,
            length_max=self.length_max,
            rule=self.config.rule,
            positions=self._positions,
            in_process=self.config.launcher == "inprocess",
        )

    def _encode(self, text: str, *, special: bool) -> list[int]:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InputError("prompt", ascii(text), "it holds half a character (a lone surrogate)") from None
        # A prompt that is too long is refused by name; the tokenizer's own warning says less.
        return list(self.tokenizer.encode(text, add_special_tokens=special, verbose=False))


def _tokenizer(spec: ModelSpec) -> Any:
    return load_tokenizer(
        spec.name, spec.role, revision=spec.revision, trust_remote_code=spec.trust_remote_code
    )
