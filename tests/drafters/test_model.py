"""The model drafter: every expansion equals a plain forward of the whole prefix, whatever came before."""

import random
from collections import Counter
from dataclasses import replace

import pytest
import torch
from scipy.stats import chisquare
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from amusd.config import RULES_WITH_Q
from amusd.devices import parse_device
from amusd.drafters import load_drafter
from amusd.drafters.base import Expansion
from amusd.drafters.model import DrawingModelDrafter, ModelDrafter
from amusd.errors import InputError
from amusd.models import Runner, wrap_model
from amusd.models.draft_cells import DraftCells
from amusd.params import SamplingParams
from amusd.policies.drafting import BestFirstPolicy, ChainPolicy
from amusd.sampling import RowSampler, rules
from amusd.speculation.drafter import DrafterEndpoint
from amusd.speculation.messages import Attached, Commit

VOCAB = 50
PADDED = 64
CONTEXT = 96
SETTINGS = [
    SamplingParams(temperature=0),
    SamplingParams(),
    SamplingParams(temperature=0.8, top_k=20, top_p=0.95, repetition_penalty=1.2, presence_penalty=0.3),
]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=PADDED,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


def drafter_of(model, slots=3, window=40):
    runner = Runner(wrap_model(model), slots=slots, context=CONTEXT, block=64, spare_cells=window)
    return ModelDrafter(DraftCells(runner, window), VOCAB)


class Desk:
    """A drafter with its endpoint, as the draft worker drives them, beside a plain reference."""

    def __init__(self, model, policy, slots=3):
        self.model = model
        self.policy = policy
        self.drafter = drafter_of(model, slots, policy.window)
        self.endpoint = DrafterEndpoint(1, policy.window)
        self.endpoint.hello()
        self.samplers = {}
        self.prompts = {}

    def open(self, request, prompt, params, seed):
        self.drafter.open(request, prompt, len(prompt), params, seed)
        self.endpoint.on_open(request, prompt, self.drafter.length_max)
        self.endpoint.on_attached(Attached(request, len(prompt), ()))
        self.prompts[request] = list(prompt)
        self.samplers[request] = RowSampler(
            params, seed=seed, vocabulary_size=VOCAB, prompt_length=len(prompt)
        )

    def close(self, request):
        self.endpoint.on_close(request)
        self.drafter.close(request)

    @torch.inference_mode()
    def reference(self, request, tokens, count):
        """The candidates by one forward over everything."""
        logits = self.model(torch.tensor([tokens])).logits[0, -1:]
        arrivals = self.samplers[request].arrivals(logits, [len(tokens)], [tokens])
        return self.samplers[request].candidates(arrivals, count)[0]

    def step(self):
        """One expansion, checked against the reference; returns how many nodes were expanded."""
        choices = self.policy.choose(self.endpoint)
        if not choices:
            return 0
        for choice, found in zip(choices, self.drafter.expand(choices), strict=True):
            tokens = [*self.endpoint.log(choice.request).tokens, *choice.path]
            expected = self.reference(choice.request, tokens, choice.count)
            assert [token for token, _ in found] == [token for token, _ in expected]
            assert [score for _, score in found] == pytest.approx([score for _, score in expected], rel=1e-3)
            self.endpoint.grow(choice.request, choice.node, found)
        return len(choices)

    def commit(self, request, tokens):
        start = self.endpoint.log(request).length
        message = Commit(request, 1, start, tuple(tokens), (False,) * len(tokens), None)
        self.follow(self.endpoint.on_commit(message))

    def follow(self, change):
        if change.truncated:
            self.drafter.truncate(change.request, self.endpoint.log(change.request).tokens)
        else:
            self.drafter.on_commit(
                change.request, change.committed, change.dropped, change.tokens, change.length
            )

    def some_path(self, request, choose):
        """Tokens along a random live path, possibly none."""
        node, tokens = self.endpoint.tree(request).root, []
        while node.children and choose.random() < 0.8:
            node = node.children[choose.choice(sorted(node.children))]
            tokens.append(node.token)
        return tokens


@pytest.mark.parametrize(
    "policy", [BestFirstPolicy(4, 6, 2, 1e-6), ChainPolicy(4)], ids=["best first", "chain"]
)
def test_every_expansion_equals_a_plain_forward_through_commits_rollbacks_and_closings(model, policy):
    choose = random.Random(3)
    desk = Desk(model, policy)
    for request, params in enumerate(SETTINGS):
        desk.open(request, [choose.randrange(VOCAB) for _ in range(5 + 9 * request)], params, seed=request)
    for turn in range(40):
        desk.step()
        live = desk.endpoint.requests()
        request = choose.choice(live)
        if turn % 3 == 2 and desk.endpoint.log(request).length < CONTEXT - 20:
            desk.commit(request, [*desk.some_path(request, choose), choose.randrange(VOCAB)])
        if turn == 20:
            desk.close(0)  # another request's slot moves
        if turn == 25:
            desk.open(7, [1, 2, 3], SETTINGS[1], seed=9)


def test_a_reset_log_is_followed(model):
    desk = Desk(model, BestFirstPolicy(4, 6, 2, 1e-6))
    desk.open(1, [4, 5, 6, 7], SETTINGS[1], seed=2)
    desk.step()
    desk.commit(1, [8, 9, 10])
    desk.step()
    desk.follow(desk.endpoint.on_attached(Attached(1, 5, (20, 21))))
    assert list(desk.endpoint.log(1).tokens) == [4, 5, 6, 7, 8, 20, 21]
    assert [desk.step() for _ in range(3)] == [1, 2, 4]


def test_many_missed_tokens_are_caught_up_with(model):
    desk = Desk(model, ChainPolicy(3))
    desk.open(1, [4, 5], SETTINGS[0], seed=2)
    desk.step()
    desk.commit(1, [choice % VOCAB for choice in range(3, 40)])
    assert desk.step() == 1


def test_a_log_may_outgrow_the_drafts_context(model):
    desk = Desk(model, ChainPolicy(3))
    desk.open(1, list(range(40)), SETTINGS[0], seed=2)
    desk.commit(1, [7] * (CONTEXT - 42))
    assert [desk.step(), desk.step()] == [1, 0]  # the last position that the draft has
    desk.commit(1, [8] * 30)
    assert desk.endpoint.log(1).length > desk.drafter.length_max
    assert desk.step() == 0
    desk.close(1)


@pytest.mark.parametrize("params", SETTINGS[:2], ids=["greedy", "sampled"])
def test_a_draft_that_equals_the_target_is_always_right(model, params):
    desk = Desk(model, ChainPolicy(6))
    desk.open(1, [4, 5, 6], params, seed=2)
    written = [4, 5, 6]
    for _ in range(6):
        written.append(desk.reference(1, written, 1)[0][0])
    while desk.step():
        pass
    chain, _ = desk.endpoint.tree(1).principal_chain(6)
    assert [node.token for node in chain] == written[3:]


def test_each_item_gets_as_many_candidates_as_it_wants(model):
    desk = Desk(model, BestFirstPolicy(4, 6, 2, 1e-6))
    desk.open(1, [4, 5, 6], SETTINGS[1], seed=2)
    desk.step()
    first, second = desk.policy.choose(desk.endpoint)
    found = desk.drafter.expand([replace(first, count=3), replace(second, count=1)])
    assert [len(candidates) for candidates in found] == [3, 1]


def test_padding_of_the_vocabulary_is_never_proposed(model):
    drafter = drafter_of(model)
    drafter.open(1, [1, 2], 2, SamplingParams(temperature=50.0), 3)
    endpoint = DrafterEndpoint(1, 40)
    endpoint.on_open(1, [1, 2], CONTEXT)
    (choice,) = BestFirstPolicy(1, 1, 40, 1e-6).choose(endpoint)
    (found,) = drafter.expand([choice])
    assert len(found) == 40
    assert all(token < VOCAB for token, _ in found)


@pytest.mark.parametrize(
    ("tokens", "params", "match"),
    [
        ([1] * (CONTEXT + 1), SamplingParams(), "prompt: 97 tokens: the draft holds 96 positions"),
        ([1], SamplingParams(logit_bias={VOCAB: 1.0}), "logit_bias: 50"),
    ],
)
def test_a_request_that_cannot_be_taken_leaves_no_trace(model, tokens, params, match):
    drafter = drafter_of(model, slots=1)
    with pytest.raises(InputError, match=match):
        drafter.open(1, tokens, 1, params, 0)
    drafter.open(1, [1, 2], 1, SamplingParams(), 0)  # the only slot is still free
    with pytest.raises(InputError):
        drafter.open(2, [1, 2], 1, SamplingParams(), 0)
    drafter.close(1)
    drafter.open(2, [1, 2], 1, SamplingParams(), 0)


def test_a_vocabulary_larger_than_the_drafts_is_refused(model):
    with pytest.raises(InputError, match="it has 64 tokens, the target 65"):
        ModelDrafter(DraftCells(Runner(wrap_model(model), slots=1, context=8), 4), PADDED + 1)


def test_a_draft_is_loaded_from_a_folder_with_a_thread_for_each_core(model, tmp_path):
    model.save_pretrained(tmp_path)
    words = Tokenizer(WordLevel({f"w{token}": token for token in range(VOCAB)}, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(tmp_path)
    options = {
        "model": str(tmp_path),
        "rule": "race",
        "revision": None,
        "dtype": "float32",
        "trust_remote_code": False,
        "max_model_len": 32,
        "max_requests": 2,
        "vocabulary_size": VOCAB,
        "window": 8,
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # as in a process that imported torch before it knew its device
    try:
        drafter = load_drafter(options, parse_device("cpu:0"))
        assert torch.get_num_threads() == 1, "one for each core of the device"
    finally:
        torch.set_num_threads(threads)
    facts = drafter.describe()
    assert (facts["vocabulary_size"], facts["max_model_len"], facts["dtype"]) == (VOCAB, 32, "float32")
    drafter.open(1, [1, 2, 3], 3, SamplingParams(temperature=0), 0)
    endpoint = DrafterEndpoint(1, 8)
    endpoint.on_open(1, [1, 2, 3], 32)
    (found,) = drafter.expand(ChainPolicy(4).choose(endpoint))
    with torch.inference_mode():
        best = model(torch.tensor([[1, 2, 3]])).logits[0, -1, :VOCAB].argmax().item()
    assert found[0][0] == best


@pytest.mark.parametrize("name", sorted(RULES_WITH_Q))
def test_siblings_are_drawn_from_the_law_that_is_told_with_them(model, name):
    window = 40
    runner = Runner(wrap_model(model), slots=2, context=CONTEXT, block=64, spare_cells=window)
    drafter = DrawingModelDrafter(DraftCells(runner, window), VOCAB, rules.get(name), seed=1)
    prompt, params = [3, 1, 4], SETTINGS[2]
    drafter.open(1, prompt, len(prompt), params, 7)
    sampler = RowSampler(params, seed=7, vocabulary_size=VOCAB, prompt_length=len(prompt))
    logits = model(torch.tensor([prompt])).logits[0, -1:]
    law = sampler.probabilities(logits, [len(prompt)], [prompt])[0]
    root = Expansion(1, None, prompt[-1], len(prompt) - 1, (), (), 4)
    counts = Counter()
    for _ in range(500):
        [drawn] = drafter.draw([root])
        counts[drawn.draws.tokens[0]] += 1
        assert list(drawn.draws.ids) == law.nonzero()[:, 0].tolist()
        assert drawn.draws.weights == pytest.approx(law[law > 0].tolist(), rel=1e-3)
        assert [token for token, _ in drawn.candidates] == list(dict.fromkeys(drawn.draws.tokens))
        assert len(drawn.draws.tokens) == min(4, rules.get(name).max_siblings or 4)
        rules.get(name).check(law, drawn.draws.tokens)
    common = [token for token in range(VOCAB) if 500 * float(law[token]) >= 8]
    found = [*(counts[token] for token in common), sum(counts.values()) - sum(counts[t] for t in common)]
    expected = [500 * float(law[token]) for token in common]
    assert chisquare(found, [*expected, 500 - sum(expected)]).pvalue > 1e-6, "once in a million fresh seeds"


def test_a_greedy_request_draws_nothing_whatever_the_rule(model):
    runner = Runner(wrap_model(model), slots=2, context=CONTEXT, block=64, spare_cells=40)
    drafter = DrawingModelDrafter(DraftCells(runner, 40), VOCAB, rules.get("rrs"))
    drafter.open(1, [3, 1, 4], 3, SETTINGS[0], 7)
    root = Expansion(1, None, 4, 2, (), (), 4)
    [drawn] = drafter.draw([root])
    assert drawn.draws is None
    assert drawn.candidates == drafter.expand([root])[0]


@pytest.mark.parametrize("name", ["race", "topk"])
def test_a_request_that_asks_for_another_rule_is_drafted_for_by_that_one(model, name):
    params, cells = SamplingParams(temperature=0.7, rule=name), []
    for _ in range(2):
        runner = Runner(wrap_model(model), slots=2, context=CONTEXT, block=64, spare_cells=40)
        cells.append(DraftCells(runner, 40))
    drawing = DrawingModelDrafter(cells[0], VOCAB, rules.get("rrs"))
    own = ModelDrafter(cells[1], VOCAB, rules.get(name))
    root = Expansion(1, None, 4, 2, (), (), 4)
    drawing.open(1, [3, 1, 4], 3, params, 7)
    own.open(1, [3, 1, 4], 3, params.model_copy(update={"rule": None}), 7)
    [drawn] = drawing.draw([root])
    assert drawn.draws is None
    assert drawn.candidates == own.expand([root])[0]


def test_topk_proposes_the_likeliest_tokens_without_noise(model):
    runner = Runner(wrap_model(model), slots=2, context=CONTEXT, block=64, spare_cells=40)
    drafter = ModelDrafter(DraftCells(runner, 40), VOCAB, rules.get("topk"))
    drafter.open(1, [3, 1, 4], 3, SamplingParams(temperature=0.7), 7)
    [found] = drafter.expand([Expansion(1, None, 4, 2, (), (), 4)])
    law = (model(torch.tensor([[3, 1, 4]])).logits[0, -1, :VOCAB] / 0.7).softmax(0)
    assert [token for token, _ in found] == law.topk(4).indices.tolist()
    assert [score for _, score in found] == pytest.approx(law.topk(4).values.tolist(), rel=1e-3)
