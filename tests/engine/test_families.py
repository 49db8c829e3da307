"""Every family through both sides' real pieces writes, token for token, what `transformers.generate` does.

What the two engines do between frames happens here in one loop, without streams, threads and waiting.
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
from amusd.policies.choices import CHOOSERS
from amusd.policies.costs import CostCurve
from amusd.policies.drafting import draft_policy
from amusd.policies.verifying import verify_policy
from amusd.speculation.drafter import DrafterEndpoint
from amusd.speculation.messages import Close, Propose
from amusd.speculation.target import Limits, TargetEndpoint
from amusd.workers.verifier import Verifier
from tests.models.families import FAMILIES, VOCABULARY, generate, loaded_model, random_tokens

PROMPTS = {1: random_tokens(1, seed=1), 2: random_tokens(20, seed=2)}  # by request
COUNTS = {1: 12, 2: 16}  # request 1 ends first, so that request 2 moves into its slot
NODES_MAX = 4  # with the root five rows: a pass is wider than plain decoding
SIZES = {"slots": 2, "context": 64, "block": 64}
BRANCHING = {"slots": 8, "context": 64, "block": 64}  # branches that are verified apart take slots
TURN_SECONDS = 0.002  # by the clock that policies see: async may lose patience, sync never does
DRAFTER = 1
NO_CHECK = SelfCheck(64, True, (), (), (), (), (), True, "")  # a verifier only describes it
pytestmark = pytest.mark.parametrize("family", FAMILIES)
ways = pytest.mark.parametrize(
    ("mode", "verify"),
    [("sync", "chain"), ("async", "chain"), ("async", "rows"), ("async", "tree")],
)


@cache
def truth(family):
    return {request: generate(family, prompt, COUNTS[request]) for request, prompt in PROMPTS.items()}


@cache
def stranger(family):
    """Other weights; an output layer of its own, or a random Gemma would guess the token that it sees."""
    torch.manual_seed(8)
    config = FAMILIES[family]()
    config.tie_word_embeddings = False
    return wrap_model(AutoModelForCausalLM.from_config(config), family)


class Pair:
    """A target and, unless it is alone, its drafter, with both requests open."""

    def __init__(self, mode, family, draft=None, verify="chain"):
        self.now, self.counts, self.outputs = 0.0, Counter(), {request: [] for request in PROMPTS}
        self.family, self.verifying, self.verify_as = family, verify_policy(mode, NODES_MAX), verify
        self.drafting = draft and draft_policy(mode, NODES_MAX)
        window = self.drafting.window if draft else 1
        runner = Runner(loaded_model(family), **(BRANCHING if verify == "rows" else SIZES))
        self.verifier = Verifier(runner, NO_CHECK, CostCurve({}), VOCABULARY)
        self.target = TargetEndpoint(1, VOCABULARY, Limits(window=window))
        if draft:
            cells = DraftCells(Runner(draft, **SIZES, spare_cells=window), window)
            self.drafter, self.drafts = ModelDrafter(cells, VOCABULARY), DrafterEndpoint(2, window)
            self.target.on_attach(DRAFTER, self.drafts.hello())
        for request in PROMPTS:
            self.open(request)

    def open(self, request):
        """Open a greedy request on both sides; only its length ends it, as in the reference."""
        prompt, count, ends = tuple(PROMPTS[request]), COUNTS[request], frozenset({1})
        params = SamplingParams(temperature=0, min_tokens=count, max_tokens=count)
        order = Order(request, prompt, len(prompt), len(prompt) + count, ends, 0, 0, params)
        assert self.target.on_open(request, prompt, len(prompt), order.length_max, ends)
        self.verifier.open(order)
        self.verifier.take_cells(request)
        self.verifier.prefill(request, 256)
        assert not self.verifier.unwritten(request)
        if self.drafting:
            self.drafter.open(request, prompt, len(prompt), params, 0, end_tokens=ends)
            self.drafts.on_open(request, prompt, order.length_max)

    def run(self):
        """Take turns until all requests have ended; returns the target's counts."""
        while requests := self.target.requests():
            rooms = {key: self.target.room(key) for key in requests}
            chosen = {
                key: CHOOSERS[self.verify_as](
                    self.target.tree(key), min(NODES_MAX, rooms[key]), lambda node: node.score
                )
                for key in requests
            }
            reaches = {key: choice.reaches for key, choice in chosen.items()}
            if (
                self.verifying.deadline(reaches, rooms, prospect=float(bool(self.drafting)), now=self.now)
                <= self.now
            ):
                self.verify(chosen, reaches)
            if self.drafting:
                self.draft()  # as if during the pass: it has not heard of the commits yet
                self.hear()
            self.now += TURN_SECONDS
        assert self.outputs == truth(self.family)
        assert not (self.drafting and self.drafts.requests()), "the drafter hears of every end"
        return self.counts

    def verify(self, chosen, reaches):
        """One pass over all requests, and its commits."""
        apart = self.verify_as == "rows"
        widths = self.verifying.widths(reaches)
        chosen = {request: choice.first(widths[request]) for request, choice in chosen.items()}
        winners = self.verifier.verify(chosen, apart=apart)
        for (request, choice), own in zip(chosen.items(), winners, strict=True):
            verified = self.target.on_verified(request, choice.nodes, choice.parents, own)
            rows = verified.accepted_rows
            self.verifier.keep(request, range(1, len(rows) + 1) if apart else rows, verified.emitted)
            self.counts["branched"] += list(rows) != list(range(1, len(rows) + 1))
            if verified.final:
                self.verifier.close(request)
                self.verifying.forget(request)
                counts = self.target.stats(request).to_dict()
                self.counts.update({name: n for name, n in counts.items() if isinstance(n, int)})
        counted = {request: len(choice.nodes) for request, choice in chosen.items()}
        self.verifying.on_pass(counted, dict.fromkeys(counted, 0), self.now + TURN_SECONDS)
        for commit in self.target.feed():
            self.outputs[commit.request] += commit.tokens

    def draft(self):
        """Expand what the policy chooses, and propose it."""
        if choices := self.drafting.choose(self.drafts):
            for choice, found in zip(choices, self.drafter.expand(choices), strict=True):
                self.drafts.grow(choice.request, choice.node, found)
        for message in self.drafts.outgoing():
            take = self.target.on_propose if isinstance(message, Propose) else self.target.on_have
            take(DRAFTER, message)

    def hear(self):
        """Follow the target's log."""
        for message in self.target.messages_for(DRAFTER):
            change = self.drafts.on_message(message)
            if isinstance(message, Close):
                self.drafter.close(message.request)
            else:
                told = change.committed, change.dropped, change.tokens, change.length
                self.drafter.on_commit(change.request, *told)


def test_the_target_alone(family):
    assert Pair("alone", family).run()["passes"] == sum(COUNTS.values())


@ways
def test_a_draft_that_is_wrong_changes_no_token(family, mode, verify):
    counts = Pair(mode, family, stranger(family), verify).run()
    assert counts["rollbacks"] > 0
    assert counts["accepted"] < counts["verified"] or mode == "async"  # which may verify nothing


@ways
def test_drafts_of_the_target_itself_are_accepted(family, mode, verify):
    counts = Pair(mode, family, loaded_model(family), verify).run()
    assert counts["accepted"] > 0
    assert mode == "async" or counts["accepted"] == counts["verified"]  # one guess a position, always right


@pytest.mark.parametrize("mode", ["amusd", "pearl"])
def test_the_schedules_to_compare_with_change_no_token_either(family, mode):
    assert Pair(mode, family, loaded_model(family)).run()["accepted"] > 0
