"""What a request must be, checked before anything is started and again at the door."""

from collections.abc import Sequence

from amusd.config import RULES_WITH_Q
from amusd.errors import InputError
from amusd.params import SamplingParams


def check_request(
    tokens: Sequence[int],
    params: SamplingParams,
    *,
    vocabulary_size: int,
    length_max: int,
    rule: str,
    positions: int | None = None,
    in_process: bool = False,
) -> None:
    """Refuse what cannot be decoded.

    Args:
        tokens: of the prompt.
        length_max: most tokens of prompt and output together.
        rule: the engine's.
        positions: most that the model has, for the remedy; None where it is not known.
        in_process: whether the target runs in this process, where alone it can call Python functions.

    Raises:
        InputError: names the field and what is wrong with it.
    """
    if not tokens:
        raise InputError("prompt", "", "it is empty: give at least one token")
    if len(tokens) >= length_max:
        whole = positions is not None and length_max >= positions
        more = "that is all the model has" if whole else "or raise max_model_len"
        remedy = f"at most {length_max - 1} leave room for output: shorten it, {more}"
        raise InputError("prompt", f"{len(tokens)} tokens", remedy)
    for field, ids in {"prompt": tokens, **params.token_ids()}.items():
        bad = next((t for t in ids if type(t) is not int or not 0 <= t < vocabulary_size), None)
        if bad is not None:
            raise InputError(field, f"token {bad!r}", f"token ids are 0 to {vocabulary_size - 1}")
    if params.logits_processors and not in_process:
        remedy = "functions do not travel: use launcher inprocess, where the target runs in this process"
        raise InputError("logits_processors", f"{len(params.logits_processors)} of them", remedy)
    if params.rule in RULES_WITH_Q and params.rule != rule:
        remedy = f"this engine draws by {rule}: ask for race or topk, or start one with rule {params.rule}"
        raise InputError("rule", params.rule, remedy)
    _check_choice(params)


def _check_choice(params: SamplingParams) -> None:
    """Refuse what leaves no token to choose from the beginning on."""
    if params.allowed_token_ids is None:
        return
    bad = {word[0] for word in params.bad_words_ids if len(word) == 1}
    early = set(params.stop_token_ids) if params.min_tokens else set()
    if bad | early >= set(params.allowed_token_ids):
        remedy = "bad words, or min_tokens and stop_token_ids, leave none of them: allow others too"
        raise InputError("allowed_token_ids", list(params.allowed_token_ids[:8]), remedy)
