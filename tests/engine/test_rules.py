"""Each rule on the packaged pair: bytes where it promises bytes, and the target's distribution where not.

The distribution is tested with both sides' real pieces and the real wire, in one loop without processes: many
short continuations of one prompt, by the rule and by the target alone, are compared by chi-square tests of
homogeneity. A right rule fails it at fresh seeds once in `1 / FALSE_ALARM` runs; seeds and turns are fixed
here, so it passes or fails for good.
"""

from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency
from transformers import AutoModelForCausalLM

from amusd import SamplingParams
from amusd.devices import parse_device
from amusd.drafters.model import DrawingModelDrafter
from amusd.models import ModelSpec, Runner, load_model, load_tokenizer
from amusd.models.draft_cells import DraftCells
from amusd.models.names import find_source
from amusd.models.selfcheck import SelfCheck
from amusd.orders import Order
from amusd.policies.choices import choose_chain
from amusd.policies.costs import CostCurve
from amusd.policies.drafting import BestFirstPolicy
from amusd.sampling import rules
from amusd.sampling.truncation import SparseLaw
from amusd.speculation.drafter import DrafterEndpoint
from amusd.speculation.messages import Close, Draws, Have, Propose
from amusd.speculation.target import Limits, TargetEndpoint
from amusd.transport.codec import decode_drafter, encode_drafter
from amusd.workers.verifier import Verifier
from tests.engine.conftest import start, start_here

FALSE_ALARM = 1e-4
SAMPLES, TOKENS, BATCH = 1024, 2, 64
RARE = 20  # texts seen less often are counted as one
NO_CHECK = SelfCheck(64, True, (), (), (), (), (), True, "")
PARAMS = SamplingParams(temperature=1.0, max_tokens=TOKENS, ignore_eos=True)
LAWFUL = [name for name, rule in rules.RULES.items() if rule.needs_q]


@cache
def runner(name, spare_cells=0):
    spec = ModelSpec(name, dtype="float32", role="target" if name == "demo" else "draft")
    loaded = load_model(spec, parse_device("cpu:0"))
    return Runner(loaded, slots=BATCH, context=64, block=64, spare_cells=spare_cells)


@cache
def prompt():
    """One token, so that nothing has to be prefilled; what follows is open enough to see a bias."""
    return tuple(load_tokenizer("demo")("self")["input_ids"])


@cache
def first_law():
    """The target's law of the first token, by transformers."""
    model = AutoModelForCausalLM.from_pretrained(find_source("demo").path, dtype=torch.float32)
    with torch.inference_mode():
        return model(torch.tensor([prompt()])).logits[0, -1].double().softmax(0)


class Desk:
    """A target and, for a rule, its drafter, as engines drive them; `asked` is what the target hears."""

    def __init__(self, rule, seed, damage=lambda draws: draws, asked=PARAMS):
        vocabulary_size = runner("demo").loaded.vocabulary_size
        self.policy = BestFirstPolicy(rows=BATCH, depth_max=TOKENS, branch=4, reach_min=1e-9)
        window = self.policy.window
        self.rule, self.damage, self.asked = rule, damage, asked
        self.verifier = Verifier(runner("demo"), NO_CHECK, CostCurve({}), vocabulary_size, rule)
        self.target = TargetEndpoint(1, vocabulary_size, Limits(window=window))
        self.drafts = DrafterEndpoint(2, window)
        if rule is not None:
            cells = DraftCells(runner("demo-small", window), window)
            self.drafter = DrawingModelDrafter(cells, vocabulary_size, rule, seed)
            self.target.on_attach(1, self.drafts.hello())
        self.outputs, self.drawn_first = {}, {}

    def decode(self, seeds):
        """One text for each seed."""
        for request in seeds:
            length = len(prompt()) + TOKENS
            order = Order(request, prompt(), len(prompt()), length, frozenset(), request, 0, self.asked)
            self.target.on_open(request, prompt(), len(prompt()), length, frozenset())
            self.verifier.open(order)
            self.verifier.take_cells(request)
            self.verifier.prefill(request, 256)
            assert not self.verifier.unwritten(request)
            if self.rule is not None:
                self.drafter.open(request, prompt(), len(prompt()), PARAMS, request)
                self.drafts.on_open(request, prompt(), length)
            self.outputs[request] = ()
        self.hear()
        while self.target.requests():
            self.draft()
            self.verify()
            self.hear()

    def draft(self):
        """Expand twice, so that there are draws below the root and below some of its children."""
        for _ in range(2 if self.rule is not None else 0):
            if choices := self.policy.choose(self.drafts):
                for choice, drawn in zip(choices, self.drafter.draw(choices), strict=True):
                    assert drawn.draws is not None
                    self.drafts.grow(choice.request, choice.node, drawn.candidates, self.damage(drawn.draws))
        for frame in encode_drafter(self.drafts.outgoing()):
            for message in decode_drafter(frame):
                if isinstance(message, Have):  # what it holds of a request that it was attached to
                    self.target.on_have(1, message)
                    continue
                assert isinstance(message, Propose)
                for draws in message.draws.values():
                    self.verifier.check(draws)
                self.target.on_propose(1, message)

    def verify(self):
        """One pass over all requests, and its commits."""
        requests = self.target.requests()
        trees = {request: self.target.tree(request) for request in requests}
        chosen = {
            request: choose_chain(tree, TOKENS - 1, lambda node: node.score)
            for request, tree in trees.items()
        }
        for request, tree in trees.items():
            self.drawn_first.setdefault(request, tree.root.draws)
        draws = {
            request: [node.draws for node in (trees[request].root, *choice.nodes)]
            for request, choice in chosen.items()
        }
        for (request, choice), own in zip(chosen.items(), self.verifier.verify(chosen, draws), strict=True):
            verified = self.target.on_verified(request, choice.nodes, choice.parents, own)
            self.verifier.keep(request, verified.accepted_rows, verified.emitted)
            if verified.final:
                self.verifier.close(request)
        for commit in self.target.feed():
            self.outputs[commit.request] += commit.tokens

    def hear(self):
        """The drafter follows the target's log."""
        for message in self.target.messages_for(1) if self.rule is not None else ():
            change = self.drafts.on_message(message)
            if isinstance(message, Close):
                self.drafter.close(message.request)
            else:
                told = change.committed, change.dropped, change.tokens, change.length
                self.drafter.on_commit(change.request, *told)


@cache
def decoded(name, damage=lambda draws: draws):
    """Everything decoded by a rule; seeds differ from rule to rule, so that samples are independent."""
    first = 1_000_000 * (["alone", *LAWFUL].index(name) + 1)
    desk = Desk(None if name == "alone" else rules.get(name), first, damage)
    for start_at in range(first, first + SAMPLES, BATCH):
        desk.decode(range(start_at, start_at + BATCH))
    assert len(desk.outputs) == SAMPLES
    assert all(len(text) == TOKENS for text in desk.outputs.values())
    return desk


def texts(*decoded_by):
    """How often each text was written."""
    return Counter(decoded(*decoded_by).outputs.values())


def homogeneity(first, second):
    """The p value of both samples coming from one distribution: of first tokens, and of whole texts."""
    by_first = _homogeneity(_first_tokens(first), _first_tokens(second))
    return min(1.0, 2 * min(by_first, _homogeneity(first, second)))


def _first_tokens(texts):
    counts = Counter()
    for text, count in texts.items():
        counts[text[0]] += count
    return counts


def _homogeneity(first, second):
    both = first + second
    common = [text for text in both if both[text] >= RARE]
    table = np.array([[sample[text] for text in common] for sample in (first, second)])
    rest = [[SAMPLES - row.sum()] for row in table]
    table = np.hstack([table, rest])
    return chi2_contingency(table[:, table.sum(axis=0) > 0]).pvalue


def without_the_least_likely(draws):
    """What a drafter that saves on siblings would send."""
    if len(set(draws.tokens)) < 2:
        return draws
    least = min(draws.tokens, key=lambda token: draws.weights[draws.ids.index(token)])
    return replace(draws, tokens=tuple(token for token in draws.tokens if token != least))


@pytest.mark.parametrize("name", LAWFUL)
def test_a_rule_keeps_the_targets_distribution(name):
    assert homogeneity(texts("alone"), texts(name)) > FALSE_ALARM


@pytest.mark.parametrize("name", LAWFUL)
def test_siblings_are_emitted_as_often_as_the_rule_says(name):
    """Within five standard errors, which a right rule leaves at fresh seeds once in two million runs."""
    desk, rule = decoded(name), rules.get(name)
    p = first_law()
    hits, expected, variance = 0, 0.0, 0.0
    for request, draws in desk.drawn_first.items():
        q = SparseLaw(torch.tensor(draws.ids), torch.tensor(draws.weights)).dense(len(p))
        chance = float(rule.law(p, q, draws.tokens)[list(set(draws.tokens))].sum())
        hits += desk.outputs[request][0] in draws.tokens
        expected, variance = expected + chance, variance + chance * (1 - chance)
    assert abs(hits - expected) <= 5 * variance**0.5


@pytest.mark.parametrize("name", ["rrs", "kseq"])
def test_what_is_drawn_twice_travels_twice(name):
    drawn = [draws.tokens for draws in decoded(name).drawn_first.values()]
    assert {len(tokens) for tokens in drawn} == {4}
    assert any(len(set(tokens)) < 4 for tokens in drawn)


def test_draws_that_repeat_one_token_are_used_like_any_other():
    """A token that q hardly holds is accepted for sure where p gives it more, at whatever seed."""
    p = first_law()
    rare = int(torch.where(p > 0.01, p, 1.0).argmin())
    law = sorted([(rare, 1 / 1024), (int(p.argmax()), 1023 / 1024)])
    draws = Draws((rare, rare), tuple(token for token, _ in law), tuple(weight for _, weight in law))
    desk = Desk(rules.get("rrs"), 1, lambda _: draws)
    desk.decode(range(8))
    assert [text[0] for text in desk.outputs.values()] == [rare] * 8


@pytest.mark.parametrize("name", ["rrs", "rrsw"])
def test_dropping_low_score_siblings_does_not(name):
    assert homogeneity(texts("alone"), texts(name, without_the_least_likely)) < FALSE_ALARM


def test_topk_writes_the_bytes_that_the_target_alone_writes(alone, held_out):
    params = [SamplingParams(temperature=t, seed=seed, max_tokens=40) for seed, t in enumerate((0, 0.6, 1))]
    with start_here("async", rule="topk", max_requests=3) as llm:
        found = llm.generate(held_out[:3], params)
    wanted = alone.generate(held_out[:3], params)
    assert [output.token_ids for output in found] == [output.token_ids for output in wanted]
    assert sum(output.metrics.acceptance_rate for output in found) > 0


@pytest.mark.parametrize(
    ("name", "verify", "mode"),
    [("rrsw", "chain", "async"), ("kseq", "rows", "async"), ("spechub", "tree", "sync")],
)
def test_a_rule_in_flight_is_followed_and_requests_that_ask_for_bytes_keep_them(
    alone, held_out, name, verify, mode
):
    greedy = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True)
    drawn = SamplingParams(temperature=1, seed=5, max_tokens=40, ignore_eos=True)
    exact = [greedy, drawn.model_copy(update={"rule": "race"}), drawn.model_copy(update={"rule": "topk"})]
    with start_here(mode, rule=name, verify=verify, max_requests=5) as llm:
        outputs = llm.generate([held_out[0]] * 5, [*exact, drawn, drawn])
    if verify != "tree":
        wanted = alone.generate([held_out[0]] * 2, [greedy, drawn])
        assert [each.token_ids for each in outputs[:3]] == [wanted[index].token_ids for index in (0, 1, 1)]
    for output in outputs:
        assert len(output.token_ids) == 40
    if mode == "sync":  # which waits for drafts, however slow this machine is
        assert all(output.metrics.acceptance_rate > 0 for output in outputs)


@pytest.mark.parametrize(("name", "launcher"), [("rejection", "local"), ("rrs", "inprocess")])
def test_a_rule_is_followed_in_processes_of_their_own(alone, held_out, name, launcher):
    greedy = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True)
    params = [greedy, SamplingParams(temperature=1, seed=5, max_tokens=40, ignore_eos=True)]
    with start("async", rule=name, launcher=launcher, max_requests=2) as llm:
        assert llm.info()["target"]["rule"] == name
        outputs = llm.generate([held_out[0]] * 2, params)
    assert outputs[0].token_ids == alone.generate(held_out[0], greedy)[0].token_ids
    assert [(len(output.token_ids), output.finish_reason) for output in outputs] == [(40, "length")] * 2
    assert all(output.metrics.drafted > 0 for output in outputs)


def test_draws_bind_no_request_that_asks_for_bytes_whatever_a_drafter_sends():
    outputs = []
    for rule, name in ((None, None), (rules.get("rrsw"), "race"), (rules.get("rrsw"), None)):
        desk = Desk(rule, 1, asked=PARAMS.model_copy(update={"rule": name}))
        desk.decode(range(16))
        outputs.append(desk.outputs)
    assert outputs[0] == outputs[1] != outputs[2]


def test_drafter_and_target_share_no_noise():
    """Two drafters of one request draw different siblings, and neither draws by the request's seed."""
    desks = [Desk(rules.get("rrsw"), None) for _ in range(2)]
    drawn = []
    for desk in desks:
        desk.drafter.open(1, prompt(), len(prompt()), PARAMS, 7)
        desk.drafts.on_open(1, prompt(), 60)
        [choice] = desk.policy.choose(desk.drafts)
        drawn.append([desk.drafter.draw([choice])[0].draws.tokens for _ in range(8)])
        desk.drafter.close(1)
    assert drawn[0] != drawn[1]
    assert len(set(drawn[0])) > 1, "the same node, drawn again"
