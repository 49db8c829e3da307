"""The lookups beside a target: drafters without a model, on its own thread and in its own tree.

They need no link: a guess is hung right after the commit that it follows. A second endpoint and tree in the
same process would do the same for more than twice the price (docs/design.md).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from amusd.config import PHRASES, PROMPT_LOOKUP, corpus_of
from amusd.drafters.base import Lookup
from amusd.drafters.ngram import NgramLookup
from amusd.drafters.phrases import Phrases
from amusd.drafters.prompt_lookup import PromptLookup
from amusd.errors import InputError
from amusd.policies.asking import Asking
from amusd.policies.choices import Choice
from amusd.policies.leading import worth_hanging
from amusd.speculation.messages import DrafterId, RequestId
from amusd.speculation.target import Guess, TargetEndpoint
from amusd.speculation.tree import TreeNode

READ_TOKENS_MAX: Final = 256  # of a prompt in one turn, as with prefill


@dataclass(slots=True)
class _Request:
    read: int = 0  # tokens of the log that the lookups know
    askings: dict[DrafterId, Asking] = field(default_factory=dict)


class Lookups:
    """Every lookup of one target; owned by its thread.

    Args:
        lookups: in the order in which they guess; they are the drafters -1, -2, ...
    """

    def __init__(self, lookups: Sequence[Lookup] = ()) -> None:
        self._lookups = {DrafterId(-number): lookup for number, lookup in enumerate(lookups, 1)}
        self._requests: dict[RequestId, _Request] = {}
        self._phrases = next(
            ((drafter, it) for drafter, it in self._lookups.items() if isinstance(it, Phrases)), None
        )

    @property
    def drafters(self) -> Collection[DrafterId]:
        """Their ids."""
        return self._lookups.keys()

    def names(self) -> dict[int, str]:
        """What users call each, by its id."""
        return {drafter: lookup.name for drafter, lookup in self._lookups.items()}

    def describe(self) -> list[str]:
        """One line for each, for the start-up print."""
        return [lookup.describe() for lookup in self._lookups.values()]

    def open(self, request: RequestId) -> None:
        """Take a request; its log is read turn by turn."""
        self._requests[request] = _Request(askings={drafter: Asking() for drafter in self._lookups})
        for lookup in self._lookups.values():
            lookup.open(request)

    def close(self, request: RequestId) -> None:
        """Forget a request."""
        if self._requests.pop(request, None) is not None:
            for lookup in self._lookups.values():
                lookup.close(request)

    def read(self, request: RequestId, log: Sequence[int], tokens_max: int = READ_TOKENS_MAX) -> None:
        """Read on in a log, so far that running requests hardly wait."""
        state = self._requests[request]
        fresh = log[state.read : state.read + tokens_max]
        state.read += len(fresh)
        for lookup in self._lookups.values():
            lookup.follow(request, fresh)

    def guess(
        self,
        endpoint: TargetEndpoint,
        request: RequestId,
        depth_max: int,
        price: float = 0.0,
        chance: Callable[[DrafterId, float], float] = lambda _, score: score,
    ) -> None:
        """Hang what every lookup guesses at the end of a log, if it is likely enough.

        Args:
            depth_max: tokens that a branch has at most.
            price: of a row in a pass, as a reach.
            chance: that a drafter's guess is right whose parent is, by its score.
        """
        log = endpoint.log(request).tokens
        self.read(request, log, len(log))
        depth = min(depth_max, endpoint.room(request))
        for drafter, asking in self._requests[request].askings.items():
            if asking.is_due() and depth > 0:
                guesses = self._lookups[drafter].guess(request, depth)
                guesses = worth_hanging(guesses, price, partial(chance, drafter))
                endpoint.on_guess(drafter, request, guesses)

    @property
    def can_lengthen(self) -> bool:
        """Whether there are phrases."""
        return self._phrases is not None

    def lengthen(
        self, endpoint: TargetEndpoint, request: RequestId, chain: Sequence[TreeNode], nodes_max: int
    ) -> bool:
        """Hang phrases below the last node of a drafted chain that has room for more; tell whether any."""
        depth = min(nodes_max, endpoint.room(request)) - len(chain)
        if self._phrases is None or not chain or depth <= 0:
            return False
        guesses = self._phrases[1].lengthen(request, [node.token for node in chain], depth)
        endpoint.on_guess(self._phrases[0], request, guesses, chain[-1])
        return bool(guesses)

    def reject(self, request: RequestId, choice: Choice, accepted_rows: Collection[int]) -> None:
        """A pass verified a choice of nodes, and took some; to be called before the next guess."""
        if self._phrases is not None:
            for rows in choice.chains():
                if rows[-1] not in accepted_rows:
                    self._phrases[1].reject(request, [choice.nodes[row - 1].token for row in rows])

    def learn(self, request: RequestId, guesses: Sequence[Guess]) -> None:
        """A commit showed which guesses were right."""
        askings = self._requests[request].askings if self._lookups else {}
        for drafter, asking in askings.items():
            hits = [guess.hit for guess in guesses if guess.drafter == drafter]
            if hits:
                asking.observe(any(hits))


def load_lookups(options: Mapping[str, Any], vocabulary_size: int) -> Lookups:
    """The lookups that a target worker's options name.

    Args:
        options: of the worker; `lookups` are names as `EngineConfig` has them.
        vocabulary_size: tokens that the target may emit.

    Raises:
        InputError: a corpus cannot be read.
    """
    made: list[Lookup] = []
    for name in options["lookups"]:
        if name == PROMPT_LOOKUP:
            made.append(PromptLookup())
        elif name == PHRASES:
            made.append(Phrases())
        else:
            corpus = corpus_of(name)
            tokens = [] if corpus is None else _read(corpus, options)
            made.append(NgramLookup([token for token in tokens if token < vocabulary_size]))
    return Lookups(made)


def _read(corpus: str, options: Mapping[str, Any]) -> list[int]:
    """The tokens of a corpus."""
    from amusd.models.loading import load_tokenizer  # imports transformers' tokenizers

    try:
        text = Path(corpus).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        remedy = f"its corpus cannot be read where the target runs ({error}); give a UTF-8 text file there"
        raise InputError("draft", f"ngram:{corpus}", remedy) from None
    tokenizer = load_tokenizer(
        options["model"],
        "target",
        revision=options["revision"],
        trust_remote_code=options["trust_remote_code"],
    )
    return list(tokenizer.encode(text, add_special_tokens=False, verbose=False))
