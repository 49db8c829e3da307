"""A target's engine whose cells run out writes what it writes where there are enough, and never hangs."""

from collections import Counter
from functools import cache

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from amusd.drafters.ngram import NgramLookup
from amusd.drafters.prompt_lookup import PromptLookup
from amusd.models import Runner, wrap_model
from amusd.models.cells import full_cells
from amusd.models.selfcheck import SelfCheck
from amusd.orders import Order
from amusd.params import SamplingParams
from amusd.policies.costs import CostCurve
from amusd.policies.fixed import FixedVerify
from amusd.policies.verifying import verify_policy
from amusd.speculation.messages import Hello, Node, Price, Propose, prefix_parent
from amusd.speculation.target import TargetEndpoint
from amusd.tracing import Recorder
from amusd.transport.codec import decode_commits, decode_logprobs, decode_map, decode_target
from amusd.workers.events import Aborted, CoordinatorJoined, CoordinatorLeft, Opened
from amusd.workers.lookups import Lookups
from amusd.workers.target_engine import TargetEngine
from amusd.workers.target_events import DrafterJoined, DrafterLeft, DrafterSaid
from amusd.workers.verifier import Verifier
from tests.models.families import FAMILIES, VOCABULARY, random_tokens

BLOCK, CONTEXT, NODES_MAX = 512, 1024, 4
REQUESTS = 6
SCANT = full_cells(3, BLOCK)  # of three short requests or a long one
NO_CHECK = SelfCheck(BLOCK, True, (), (), (), (), (), True, "")  # a verifier only describes it
TURNS_MAX = 4000


@cache
def loaded(dtype):
    """A tiny Llama with room for two blocks."""
    torch.manual_seed(7)
    sizes = FAMILIES["llama"]().to_dict() | {"max_position_embeddings": CONTEXT}
    return wrap_model(AutoModelForCausalLM.from_config(LlamaConfig(**sizes)).to(dtype))


class Link:
    """Takes what a stream would write at once."""

    def __init__(self):
        self.ready, self.sent = True, []

    def send(self, frames):
        """One frame after the other."""
        self.sent += frames

    def close(self, reason=None):
        """Broken off only by a defect here."""
        raise AssertionError(reason)


class Rig:
    """An engine on this thread, and what its coordinator hears.

    Args:
        cells: how many there may be for one slot of each request; None: enough.
        policy: None: that of `async`.
    """

    def __init__(self, cells=None, dtype=torch.float32, verify="chain", policy=None):
        slots_each = 4 if verify == "rows" else 1
        total = None if cells is None else slots_each * cells
        slots = slots_each * REQUESTS
        self.runner = Runner(loaded(dtype), slots=slots, context=CONTEXT, block=BLOCK, cells_total=total)
        self.verifier = Verifier(self.runner, NO_CHECK, CostCurve({}), VOCABULARY, slots_each=slots_each)
        self.endpoint = TargetEndpoint(9, VOCABULARY)
        lookups = Lookups([PromptLookup(), NgramLookup([])])
        policy = policy or verify_policy("async", NODES_MAX)
        self.engine = TargetEngine(
            lambda: (self.verifier, self.endpoint, lookups), policy, verify, Recorder(), (), 0.05
        )
        self.engine.load()
        self.link = Link()
        self.engine.on_event(CoordinatorJoined(self.link))
        self.tokens, self.finals, self.logprobs, self.preemptions = {}, {}, Counter(), {}
        self.held_most = 0

    def open(self, *orders):
        """As a coordinator does."""
        for order in orders:
            self.tokens[order.request] = []
            self.engine.on_event(Opened(self.link, order))

    def turn(self):
        """One turn of the engine, and what it hands out."""
        assert self.engine.wait_seconds() is not None, "somebody is decoded as long as there is anybody"
        self.engine.work()
        self.held_most = max(self.held_most, self.engine.occupancy()["slots"])
        total = self.runner.cells.cells_total
        assert full_cells(self.runner.cells.slots, self.runner.cells.cells) <= total
        for event in self.link.sent:
            match event.WhichOneof("kind"):
                case "commits":
                    for commit in decode_commits(event.commits.columns):
                        self.tokens[commit.request] += commit.tokens
                        if commit.final is not None:
                            self.finals[commit.request] = commit.final
                    if event.commits.logprobs:
                        self.logprobs.update(decode_logprobs(event.commits.logprobs))
                case "statistics":
                    values = decode_map(event.statistics.values, "target")
                    self.preemptions[event.statistics.request] = values["preemptions"]
        self.link.sent.clear()

    def run(self):
        """Turn until everybody is done."""
        turns = 0
        while self.endpoint.requests():
            self.turn()
            turns += 1
            assert turns < TURNS_MAX
        self.turn_idle()
        return self

    def turn_idle(self):
        """Nothing is held when nobody is there."""
        assert set(self.engine.occupancy().values()) == {0}


def order(request, prompt, count, priority=0, **settings):
    """A request."""
    params = SamplingParams(ignore_eos=True, max_tokens=count, **settings)
    tokens = tuple(prompt)
    return Order(
        request, tokens, len(tokens), len(tokens) + count, frozenset(), request, 0, params, priority=priority
    )


def crowd():
    """Requests of all kinds, whose logs cross many blocks."""
    again = random_tokens(12, seed=5)
    return [
        order(1, random_tokens(440, seed=1), 90, temperature=0.0, logprobs=2, prompt_logprobs=1),
        order(2, again * 38, 80, temperature=1.0),
        order(3, random_tokens(460, seed=3), 60, temperature=0.7, prompt_logprobs=0, presence_penalty=0.5),
        order(4, again * 36, 120, temperature=0.0, logprobs=0),
        order(5, [7], 70, temperature=1.0, logprobs=0),
        order(6, random_tokens(465, seed=6), 70, temperature=1.0, prompt_logprobs=2, logprobs=1),
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_few_cells_change_no_token_and_no_logprob(dtype):
    ample, scant = Rig(dtype=dtype), Rig(SCANT, dtype)
    for rig in (ample, scant):
        rig.open(*crowd())
        rig.run()
    assert scant.tokens == ample.tokens
    assert [len(scant.tokens[each.request]) for each in crowd()] == [90, 80, 60, 120, 70, 70]
    assert scant.finals == ample.finals == dict.fromkeys(ample.tokens, "length")
    assert set(scant.logprobs.values()) == {1}, "none is lost, none is sent twice"
    assert scant.logprobs == ample.logprobs
    assert (ample.held_most, sum(ample.preemptions.values())) == (REQUESTS, 0)
    assert scant.held_most == 3, "short ones share what a long one takes alone"
    assert sum(scant.preemptions.values()) >= 3
    assert scant.preemptions[1] == 0, "the first is never set aside"


def test_branches_in_slots_of_their_own_count_too():
    ample, scant = Rig(verify="rows"), Rig(SCANT, verify="rows")
    for rig in (ample, scant):
        rig.open(*crowd())
        rig.run()
    assert scant.tokens == ample.tokens
    assert sum(scant.preemptions.values()) > 0


def test_requests_get_cells_by_priority_and_then_in_order():
    rig = Rig(full_cells(1, CONTEXT))
    rig.open(*(order(request, [7] * 600, 20, priority=request == 2) for request in (1, 2, 3)))
    ended = []
    while rig.endpoint.requests():
        rig.turn()
        assert rig.engine.occupancy()["slots"] <= 1
        ended += [request for request in rig.finals if request not in ended]
    assert ended == [1, 3, 2]


def test_one_that_waits_can_be_aborted_and_one_that_leaves_makes_room():
    rig = Rig(full_cells(1, CONTEXT))
    rig.open(*(order(request, [7] * 600, 20) for request in (1, 2, 3)))
    rig.turn()
    assert rig.engine.occupancy() == {"requests": 3, "slots": 1, "waiting": 2, "nodes": 0}
    rig.engine.on_event(Aborted(2))
    rig.engine.on_event(Aborted(1))
    assert rig.engine.wait_seconds() == 0, "there are cells to give"
    rig.run()
    assert rig.finals == {1: "abort", 2: "abort", 3: "length"}


def test_nothing_is_left_of_those_who_waited_when_the_coordinator_goes():
    rig = Rig(full_cells(1, CONTEXT))
    rig.open(*(order(request, [7] * 600, 20) for request in (1, 2)))
    rig.turn()
    rig.link.close = lambda reason=None: None
    rig.engine.on_event(CoordinatorLeft(rig.link))
    rig.turn_idle()
    assert rig.engine.wait_seconds() == 0
    rig.engine.work()
    assert rig.engine.wait_seconds() is None


def test_what_would_never_fit_is_refused():
    rig = Rig(full_cells(1, CONTEXT))
    rig.open(order(1, [7] * 10, 2 * CONTEXT))
    rig.engine.work()
    _, event = rig.link.sent  # after the welcome
    assert (event.refused.request, event.refused.field) == (1, "max_tokens")
    rig.turn_idle()


def test_a_prompt_is_prefilled_in_short_chunks_beside_others_and_in_long_ones_alone():
    rig = Rig()
    taken, prefill = [], rig.verifier.prefill

    def watched(request, rows_max):
        taken.append((request, rows_max, len(rig.tokens[1])))
        return prefill(request, rows_max)

    rig.verifier.prefill = watched
    rig.engine._pace._stall_seconds = 0.0
    rig.open(order(1, random_tokens(150, seed=1), 40, temperature=0.0))
    rig.turn()
    assert taken == [(1, 149, 0)]
    rig.open(order(2, random_tokens(100, seed=2), 40, temperature=0.0))
    taken.clear()
    rig.run()
    assert [(request, rows) for request, rows, _ in taken] == [(2, 24)] * 4 + [(2, 3)]
    lengths = [length for _, _, length in taken]
    assert lengths == sorted(set(lengths)), "a pass goes between any two chunks that take longer than that"
    alone = Rig()
    alone.open(order(2, random_tokens(100, seed=2), 40, temperature=0.0))
    assert alone.run().tokens[2] == rig.tokens[2]


@pytest.mark.parametrize(("stall", "passes_between"), [(0.0, 1), (1000.0, 0)])
def test_prompts_are_read_one_after_the_other_for_as_long_as_a_pass_may_wait(stall, passes_between):
    rig, done = Rig(), []
    verify, prefill = rig.verifier.verify, rig.verifier.prefill
    rig.verifier.verify = lambda *given, **options: done.append("pass") or verify(*given, **options)
    rig.verifier.prefill = lambda request, rows: done.append(request) or prefill(request, rows)
    rig.engine._pace._stall_seconds = stall
    rig.open(order(1, [7] * 8, 40, temperature=0.0))
    rig.turn()
    rig.open(*(order(request, [7] * 20, 4, temperature=0.0) for request in (2, 3)))
    done.clear()
    rig.run()
    first, second = done.index(2), done.index(3)
    assert done[first:second].count("pass") == passes_between
    assert done[second + 1] == "pass", "who was kept waiting comes next"


def test_a_pass_after_a_chunk_verifies_what_was_drafted_meanwhile():
    rig, link, done = Rig(policy=FixedVerify(NODES_MAX, 0, 0.0)), Link(), []
    verify, prefill = rig.verifier.verify, rig.verifier.prefill

    def watched_pass(chosen, *rest, **options):
        done.append(len(chosen[1].nodes))
        return verify(chosen, *rest, **options)

    def watched_chunk(*given):
        done.append("chunk")
        return prefill(*given)

    rig.verifier.verify, rig.verifier.prefill = watched_pass, watched_chunk
    rig.engine._pace._stall_seconds = 0.0
    rig.open(order(1, [7] * 8, 40, temperature=0.0))
    rig.engine.on_event(DrafterJoined(5, link, Hello(3, {1: 8})))
    rig.turn()
    rig.turn()
    done.clear()
    rig.open(order(2, random_tokens(100, seed=2), 1, temperature=0.0))
    for node in range(1, 5):
        rig.turn()
        assert done == ["chunk"]
        nodes = (Node(node, prefix_parent(rig.endpoint.log(1).length), 20 + node, 0.9),)
        rig.engine.on_event(DrafterSaid(5, Propose(1, nodes), 0.0))  # it came while the chunk was read
        rig.turn()
        assert done == ["chunk", 1]
        done.clear()


def test_a_wait_is_decided_once_after_what_has_arrived_was_taken():
    decided = []

    class Waits(FixedVerify):
        def deadline(self, reaches, rooms, **options):
            decided.append({request: len(chain) for request, chain in reaches.items()})
            return options["now"] + (60.0 if len(reaches[1]) < 2 else 0.0)

    rig = Rig(policy=Waits(NODES_MAX, 0, 0.0))
    rig.open(order(1, random_tokens(8, seed=1), 40, temperature=0.0))
    rig.engine.on_event(DrafterJoined(5, Link(), Hello(3, {1: 8})))
    rig.turn()
    length = rig.endpoint.log(1).length

    def hear(node):
        parent = prefix_parent(length) if node == 1 else node - 1
        rig.engine.on_event(DrafterSaid(5, Propose(1, (Node(node, parent, 20 + node, 0.9),)), 0.0))

    assert rig.engine.wait_seconds() == 0, "what has arrived is looked at first"
    assert not decided
    rig.turn()
    assert decided == [{1: 0}]
    assert rig.engine.wait_seconds() > 30, "it was decided already"
    hear(1)
    rig.turn()
    assert rig.engine.wait_seconds() > 30
    hear(2)
    rig.turn()
    assert decided == [{1: 0}, {1: 1}, {1: 2}]
    assert rig.endpoint.log(1).length > length, "its drafts are in, so it was decoded"
    assert rig.engine.wait_seconds() == 0


def test_costs_are_learned_from_what_a_pass_had():
    rig = Rig(policy=FixedVerify(NODES_MAX, 0, 0.0))
    verify, costs = rig.verifier.verify, rig.verifier.costs
    shapes, learned = [], []

    def watched(chosen, *rest, **options):
        shapes.append([1 + len(choice.nodes) for choice in chosen.values()])
        return verify(chosen, *rest, **options)

    def observe(rows, requests, seconds, cells, widest):
        learned.append((rows, requests, cells, widest))

    rig.verifier.verify, costs.observe = watched, observe
    rig.open(*crowd())
    rig.run()
    assert {cells for _, _, cells, _ in learned} <= {BLOCK, 2 * BLOCK}
    expected = [(costs.rows(widths), len(widths), max(widths)) for widths in shapes]
    assert [(rows, requests, widest) for rows, requests, _, widest in learned] == expected
    assert any(max(widths) > min(widths) for widths in shapes), "some are wider than others"


def test_what_was_seen_of_drafts_before_a_request_was_set_aside_is_forgotten():
    forgotten = Counter()

    class Forgets(FixedVerify):
        def forget(self, request):
            forgotten[request] += 1

    rig = Rig(SCANT, policy=Forgets(NODES_MAX, 0, 0.0))
    rig.open(*crowd())
    rig.run()
    assert sum(rig.preemptions.values()) >= 3
    for request, preemptions in rig.preemptions.items():
        assert forgotten[request] >= 1 + preemptions + 1, "whenever it gets cells, and at its end"


class Priced(FixedVerify):
    """Asks what the test says, and waits for nobody."""

    price = 0.0


def test_a_drafter_hears_of_a_price_when_it_attaches_and_where_it_changed_by_more_than_a_tenth():
    policy = Priced(NODES_MAX, 0, 0.0)
    rig, link, other = Rig(policy=policy), Link(), Link()
    rig.open(order(1, [7] * 8, 200))
    link.close = lambda reason=None: None

    def heard(price):
        policy.price = price
        rig.turn()
        messages = [decode_target(frame) for frame in link.sent]
        assert len(messages) == 1, "there is a commit in every turn"
        link.sent.clear()
        return [message.reach for message in messages[0] if isinstance(message, Price)]

    rig.engine.on_event(DrafterJoined(5, link, Hello(3, {1: 8})))
    assert heard(0.0) == [], "what a drafter takes for granted"
    for price, told in ((0.5, True), (0.54, False), (0.46, False), (0.5625, True), (0.51, False)):
        assert heard(price) == ([price] if told else [])
    for price, told in ((0.5, True), (0.0, True), (0.0, False), (0.5, True), (0.5, False)):
        assert heard(price) == ([price] if told else [])
    rig.engine.on_event(DrafterJoined(6, other, Hello(4, {1: 8})))
    assert heard(0.75) == [0.75]
    assert [Price(0.75)] == [each for each in decode_target(other.sent[-1]) if isinstance(each, Price)]
    rig.engine.on_event(DrafterLeft(5))
    rig.engine.on_event(DrafterJoined(5, link, Hello(3, {1: 8})))
    assert heard(0.75) == [0.75], "the drafter has forgotten"


def test_the_price_decides_which_branch_is_verified():
    policy = Priced(NODES_MAX, 0, 0.0)
    rig, link = Rig(policy=policy), Link()
    rig.open(order(1, random_tokens(8, seed=1), 200))
    rig.engine.on_event(DrafterJoined(5, link, Hello(3, {1: 8})))
    rig.turn()
    rig.turn()
    root = prefix_parent(rig.endpoint.log(1).length)
    nodes = (Node(1, root, 21, 0.5), Node(2, root, 22, 0.45), Node(3, 2, 23, 0.9))
    rig.engine.on_event(DrafterSaid(5, Propose(1, nodes), 0.0))

    def chosen(price):
        policy.price = price
        rig.engine._choose_anew()
        return [node.token for node in rig.engine._choose()[0][1].nodes]

    assert [chosen(price) for price in (0.0, 0.45, 0.0)] == [[22, 23], [21], [22, 23]]


def test_lookups_hang_what_the_price_and_what_was_learned_of_them_leave():
    policy = Priced(NODES_MAX, 0, 0.0)
    rig, hung, chances = Rig(policy=policy), [], {}
    on_guess = rig.endpoint.on_guess

    def watched(drafter, request, guesses):
        hung.extend(guesses)
        on_guess(drafter, request, guesses)

    rig.endpoint.on_guess = watched
    rig.engine._records.chance = lambda request, drafter, score: chances[request, drafter]
    rig.open(order(1, [7] * 8, 400, temperature=0.0))  # greedy, so it repeats itself

    def goes_below_the_first(price, chance):  # a second token reaches the square of the chance
        policy.price = price
        chances.update({(1, -1): chance, (1, -2): chance})
        hung.clear()
        while not hung:
            rig.turn()
        return any(parent >= 0 for parent, _, _ in hung)

    assert goes_below_the_first(price=0.0, chance=0.1)
    assert not goes_below_the_first(price=0.1, chance=0.1)
    assert goes_below_the_first(price=1.0, chance=0.9)
    assert not goes_below_the_first(price=1.0, chance=0.6)


def test_what_a_drafter_proposed_is_not_verified_once_it_broke_the_protocol():
    rig, link = Rig(), Link()
    rig.open(order(1, [7] * 8, 200))
    link.close = lambda reason=None: None
    rig.turn()
    rig.turn()
    rig.engine.on_event(DrafterJoined(5, link, Hello(3, {1: 8})))
    rig.turn()
    length = rig.endpoint.log(1).length

    def say(node, score):
        nodes = (Node(node, prefix_parent(length), 20 + node, score),)
        rig.engine.on_event(DrafterSaid(5, Propose(1, nodes), 0.0))

    say(1, 0.9)
    [chosen] = rig.engine._choose()[0][1].nodes
    assert chosen.token == 21
    say(2, 2.0)
    assert not rig.endpoint.drafters()
    assert all(node.live for node in rig.engine._choose()[0][1].nodes)
