"""What a request must be, checked before anything is started and again at the door."""

from collections.abc import Sequence

from amusd.errors import InputError
from amusd.params import SamplingParams


def check_request(
    tokens: Sequence[int],
    params: SamplingParams,
    *,
    vocabulary_size: int,
    length_max: int,
    positions: int | None = None,
) -> None:
    """Refuse what cannot be decoded.

    Args:
        tokens: of the prompt.
        length_max: most tokens of prompt and output together.
        positions: most that the model has, for the remedy; None where it is not known.

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
    for field, ids in (
        ("prompt", tokens),
        ("stop_token_ids", params.stop_token_ids),
        ("logit_bias", list(params.logit_bias)),
    ):
        bad = next((t for t in ids if type(t) is not int or not 0 <= t < vocabulary_size), None)
        if bad is not None:
            raise InputError(field, f"token {bad!r}", f"token ids are 0 to {vocabulary_size - 1}")
