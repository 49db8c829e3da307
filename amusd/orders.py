"""What a side is asked to do with a request."""

from dataclasses import dataclass

from amusd.params import SamplingParams
from amusd.speculation.messages import RequestId


@dataclass(frozen=True, slots=True)
class Order:
    """A request as the coordinator opens it, on the target and on every drafter that may guess for it."""

    request: RequestId
    tokens: tuple[int, ...]  # the prompt, then what has been delivered so far
    prompt_length: int
    length_max: int  # of prompt and output together
    end_tokens: frozenset[int]
    seed: int
    sample_index: int
    params: SamplingParams
    speculative: bool = True  # False: it is decoded without drafts, looked-up ones too
    num_speculative_tokens: int | None = None  # of one pass, at most; None: as many as the engine takes
    priority: int = 0  # lower is handled earlier
    deadline_seconds: float | None = None  # left until it should be finished, which may be past
