"""What may be given to `generate`: one prompt or many, settings and wishes for all or one for each."""

from collections.abc import Sequence

from amusd.errors import InputError
from amusd.params import SamplingParams
from amusd.wishes import Wishes, WishLists

Prompt = str | Sequence[int]


def as_list(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    """The prompts, one of which is text or a list of token ids.

    Raises:
        InputError: it is neither a prompt nor a list.
    """
    if not isinstance(prompts, Sequence) or isinstance(prompts, bytes):
        raise InputError("prompts", prompts, "give text, a list of token ids, or a list of such prompts")
    if isinstance(prompts, str) or (prompts and isinstance(prompts[0], int)):
        return [prompts]  # type: ignore[list-item]
    return list(prompts)  # type: ignore[arg-type]


def settings_for(
    prompts: Sequence[Prompt], params: SamplingParams | Sequence[SamplingParams] | None
) -> list[SamplingParams]:
    """The settings of each prompt; None means the defaults.

    Raises:
        InputError: there are more or fewer than prompts, or they are none.
    """
    if params is None or isinstance(params, SamplingParams):
        return [params or SamplingParams()] * len(prompts)
    if not isinstance(params, Sequence) or not all(isinstance(setting, SamplingParams) for setting in params):
        raise InputError("params", params, "give SamplingParams(...), or a list of them")
    if len(params) != len(prompts):
        raise InputError(
            "params", f"{len(params)} of them", f"give one, or {len(prompts)}: one for each prompt"
        )
    return list(params)


def wishes_for(prompts: Sequence[Prompt], options: WishLists) -> list[Wishes]:
    """The wishes of each prompt.

    Args:
        options: by the names of `Wishes`, each one value for all prompts or a list with one for each.

    Raises:
        InputError: a list is longer or shorter than the prompts, or as `Wishes` does.
    """
    columns = {}
    for name, given in options.items():
        one_each = isinstance(given, Sequence) and not isinstance(given, str | bytes)
        values = list(given) if one_each else [given] * len(prompts)  # type: ignore[call-overload]
        if len(values) != len(prompts):
            remedy = f"give one value, or {len(prompts)}: one for each prompt"
            raise InputError(name, f"{len(values)} of them", remedy)
        columns[name] = values
    return [
        Wishes.from_dict({name: values[index] for name, values in columns.items()})
        for index in range(len(prompts))
    ]
