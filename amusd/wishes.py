"""What a request may wish for beside its sampling parameters: how soon, and with how much speculation.

No wish changes a token. `priority` is vLLM's, by name and meaning.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from amusd.params import TOKENS_MAX, input_error

PRIORITY_LIMIT: Final = 2**31
_REMEDIES: Final = {
    "speculative": "give true or false",
    "num_speculative_tokens": "give a whole number of 0 (no drafts) or more, or none for as many as the"
    " engine takes",
    "priority": f"give a whole number from {-PRIORITY_LIMIT} to {PRIORITY_LIMIT - 1}; lower goes first",
    "deadline_seconds": "give a finite number above 0, or none where there is no hurry",
}


class WishOptions(TypedDict, total=False):
    """Keyword arguments of what decodes one prompt; see `Wishes`."""

    speculative: bool | None
    num_speculative_tokens: int | None
    priority: int | None
    deadline_seconds: float | None


class WishLists(TypedDict, total=False):
    """Keyword arguments of what decodes several: one value for all, or a list with one for each."""

    speculative: bool | Sequence[bool | None] | None
    num_speculative_tokens: int | Sequence[int | None] | None
    priority: int | Sequence[int | None] | None
    deadline_seconds: float | Sequence[float | None] | None


class Wishes(BaseModel):
    """The wishes of one request; immutable.

    Attributes:
        speculative: False decodes without drafts.
        num_speculative_tokens: most drafted tokens of this request that one pass verifies, where that is less
            than the engine's own; 0 decodes without drafts.
        priority: the lowest gets a place first, has its prompt read first and keeps its cells longest; of
            equals who came first.
        deadline_seconds: it should be finished so many seconds after it arrived; it is not ended then.

    Raises:
        InputError: naming the field, the value and what to give instead.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    speculative: bool = Field(default=True, description="false decodes without drafts: the same text")
    num_speculative_tokens: int | None = Field(default=None, ge=0, le=TOKENS_MAX)
    priority: int = Field(default=0, ge=-PRIORITY_LIMIT, lt=PRIORITY_LIMIT)
    deadline_seconds: float | None = Field(default=None, gt=0.0)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise input_error(error, values, _REMEDIES) from None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Wishes":
        """Wishes by their names; None means that one is not given.

        Raises:
            InputError: as the constructor does.
        """
        return cls(**{name: value for name, value in values.items() if value is not None})

    def to_dict(self) -> dict[str, Any]:
        """What differs from the defaults, by name."""
        return self.model_dump(exclude_defaults=True)


NO_WISHES: Final = Wishes()
