"""Every family through the real pieces of both sides, token for token what `transformers.generate` writes.

What the engines do between two frames happens here in one loop, without streams and threads.
"""

from collections import Counter
from functools import cache

import pytest
import torch
from transformers import AutoModelForCausalLM

from amusd.drafters.model import ModelDrafter
from amusd.models import Runner, wrap_model
from amusd.models.draft_cells import DraftCells
from amusd.models.selfcheck import SelfCheck
from amusd.orders import Order
from amusd.params import SamplingParams
from amusd.policies.drafting import draft_policy
from amusd.policies.verifying import verify_policy
from amusd.speculation.drafter import DrafterEndpoint
from amusd.speculation.messages import Close, DrafterId, Propose
from amusd.speculation.target import Limits, TargetEndpoint
from amusd.workers.verifier import Verifier
from tests.models.families import FAMILIES, VOCABULARY, generate, loaded_model, random_tokens

PROMPTS = {1: random_tokens(1, seed=1), 2: random_tokens(20, seed=2)}  # by request
COUNTS = {1: 24, 2: 30}  # tokens; request 1 ends first, so that request 2 moves into its slot
END = 1  # kept away by min_tokens, and in the reference
NODES_MAX = 4  # with the root five rows, so that a pass is wider than plain decoding
SIZES = {"slots": 2, "context": 64, "block": 64}
TURN_SECONDS = 0.002  # of the pretended clock: async may lose patience with its draft, sync does not
DRAFTER = DrafterId(1)
NO_CHECK = SelfCheck(64, True, (), (), (), (), True, "")  # only described, never looked at


@cache
def truth(family):
    """What each request must become."""
    return {request: generate(family, prompt, COUNTS[request]) for request, prompt in PROMPTS.items()}


@cache
def stranger(family):
    """A model of the same family with other weights; its guesses are nearly always wrong."""
    torch.manual_seed(8)
    return wrap_model(AutoModelForCausalLM.from_config(FAMILIES[family]()), family)


def order(request):
    """A greedy request that its length ends."""
    prompt, count = PROMPTS[request], COUNTS[request]
    params = SamplingParams(temperature=0, min_tokens=count, max_tokens=count)
    return Order(request, tuple(prompt), len(prompt), len(prompt) + count, frozenset({END}), 0, 0, params)


class Pair:
    """A target and, unless it is alone, a drafter; a turn of one overlaps with a turn of the other."""

    def __init__(self, mode, target, draft=None):
        self.now = 0.0
        self.outputs = {}
        self.counts = Counter()
        self.verifying = verify_policy(mode, NODES_MAX)
        self.drafting = draft and draft_policy(mode, NODES_MAX)
        self.verifier = Verifier(Runner(target, **SIZES), NO_CHECK, VOCABULARY)
        window = self.drafting.window if draft else Limits().window
        self.target = TargetEndpoint(1, VOCABULARY, Limits(window=window))
        if draft:
            runner = Runner(draft, **SIZES, spare_cells=window)
            self.drafter = ModelDrafter(DraftCells(runner, window), VOCABULARY)
            self.drafts = DrafterEndpoint(2, window)
            self.target.on_attach(DRAFTER, self.drafts.hello())

    def open(self, order):
        request, tokens, length = order.request, order.tokens, order.prompt_length
        assert self.target.on_open(request, tokens, length, order.length_max, order.end_tokens)
        self.verifier.open(order)
        while not self.verifier.prefill(request):
            pass
        if self.drafting:
            self.drafter.open(request, tokens, length, order.params, order.seed, end_tokens=order.end_tokens)
            self.drafts.on_open(request, tokens, order.length_max)
        self.outputs[request] = []

    def run(self):
        """Take turns until every request has ended."""
        while self.target.requests():
            if self.deadline() <= self.now:
                self.verify()
            if self.drafting:
                self.draft()  # not knowing what was just committed
                self.say()
                self.hear()
            self.now += TURN_SECONDS

    def chains(self):
        return {request: self.target.chain(request, NODES_MAX) for request in self.target.requests()}

    def deadline(self):
        lengths = {request: len(chain) for request, chain in self.chains().items()}
        rooms = {request: self.target.room(request) for request in lengths}
        return self.verifying.deadline(lengths, rooms, drafters=len(self.target.drafters()), now=self.now)

    def verify(self):
        """One pass over all requests, and its commits."""
        chains, trees = self.chains(), {request: self.target.tree(request) for request in self.outputs}
        reaches = {key: [trees[key].reach(node) for node in chain] for key, chain in chains.items()}
        widths = self.verifying.widths(reaches)
        chains = {request: chain[: widths[request]] for request, chain in chains.items()}
        winners = self.verifier.verify(
            [(request, [node.token for node in chain]) for request, chain in chains.items()]
        )
        for (request, chain), own in zip(chains.items(), winners, strict=True):
            verified = self.target.on_verified(request, chain, range(len(chain)), own)
            self.verifier.keep(request, verified.accepted_rows, verified.emitted)
            if verified.final is not None:
                self.verifier.close(request)
                self.verifying.forget(request)
        self.verifying.on_pass(self.now)
        for commit in self.target.feed():
            self.outputs[commit.request] += commit.tokens
            if commit.final is not None:
                assert commit.final == "length"
                self.counts.update(self.target.stats(commit.request).to_dict())

    def draft(self):
        choices = self.drafting.choose(self.drafts)
        for choice, found in zip(choices, self.drafter.expand(choices) if choices else [], strict=True):
            self.drafts.grow(choice.request, choice.node, found)

    def say(self):
        for message in self.drafts.outgoing():
            take = self.target.on_propose if isinstance(message, Propose) else self.target.on_have
            take(DRAFTER, message)

    def hear(self):
        for message in self.target.messages_for(DRAFTER):
            change = self.drafts.on_message(message)
            if isinstance(message, Close):
                self.drafter.close(message.request)
            else:
                self.drafter.on_commit(
                    change.request, change.committed, change.dropped, change.tokens, change.length
                )


def decode(mode, family, draft=None):
    """Both requests at once; returns what was counted."""
    pair = Pair(mode, loaded_model(family), draft)
    for request in PROMPTS:
        pair.open(order(request))
    pair.run()
    assert pair.outputs == truth(family)
    assert not (draft and pair.drafts.requests()), "the drafter must hear of every end"
    return pair.counts


@pytest.mark.parametrize("family", FAMILIES)
def test_the_target_alone_writes_what_transformers_generates(family):
    counts = decode("alone", family)
    assert counts["passes"] == counts["committed"] == sum(COUNTS.values())


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_draft_that_is_wrong_is_rolled_back_and_changes_no_token(family, mode):
    counts = decode(mode, family, stranger(family))
    assert counts["rollbacks"] > 0
    assert counts["accepted"] < counts["verified"]


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_draft_that_is_the_target_saves_passes_and_changes_no_token(family, mode):
    counts = decode(mode, family, loaded_model(family))
    assert counts["accepted"] > 0
    assert counts["passes"] < counts["committed"]
    if mode == "sync":  # a chain of its best guesses: each is the target's own token
        assert counts["accepted"] == counts["verified"]
