"""Whether a draft speaks the target's tokens: only token ids cross the network."""

from transformers import PreTrainedTokenizerBase

from amusd.errors import InputError

_NAMED_MAX = 3


def check_vocabularies(
    target: PreTrainedTokenizerBase,
    target_size: int,
    draft: PreTrainedTokenizerBase,
    draft_size: int,
    *,
    draft_name: str = "draft",
) -> None:
    """Refuse a draft whose token ids mean something else than the target's.

    Args:
        target, draft: the tokenizers.
        target_size, draft_size: columns of the models' logits; more columns than tokens is padding, and fine.
        draft_name: the draft as the user wrote it.

    Raises:
        InputError: names the first ids that differ and both their texts.
    """
    ours, theirs = _tokens(target), _tokens(draft)
    remedy = "give a draft with the target's tokenizer"
    tokens = sorted(ours.keys() | theirs.keys())
    different = [token for token in tokens if ours.get(token) != theirs.get(token)]
    if different:
        named = different[:_NAMED_MAX]
        shown = ", ".join(f"{t} is {_text(theirs, t)} (target: {_text(ours, t)})" for t in named)
        counts = f"its vocabulary has {len(theirs)} tokens, the target's {len(ours)}"
        raise InputError("draft", draft_name, f"{counts}, {len(different)} differ: {shown}; {remedy}")
    needed = max(ours) + 1
    if draft_size < needed:
        remedy = f"it has {draft_size} token rows, its vocabulary {needed} tokens; {remedy}"
        raise InputError("draft", draft_name, remedy)
    if target_size < needed:
        raise InputError("target", target_size, f"its tokenizer has {needed} tokens, more than that")


def _tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    return {token: text for text, token in tokenizer.get_vocab().items()}


def _text(tokens: dict[int, str], token: int) -> str:
    return repr(tokens[token]) if token in tokens else "missing"
