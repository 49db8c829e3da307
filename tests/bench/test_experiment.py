"""The order of things, on a clock of its own: contenders that take as long as they are told."""

import pytest

from amusd.bench import experiment as module
from amusd.bench.contenders import BY_KEY
from amusd.bench.experiment import Experiment
from amusd.bench.results import PromptFacts, Results, read_results
from amusd.bench.runs import Run
from amusd.bench.settings import read_settings
from amusd.bench.summary import summarize
from amusd.devices import Inventory
from amusd.errors import InputError

PROMPTS = [(1,), (2,), (3,)]  # two measured, one for tuning


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now


class FakeSessions:
    """Each token takes `seconds[key]`, by default a tenth; outputs depend on the prompt and temperature."""

    def __init__(self, clock):
        self.clock = clock
        self.seconds = {}
        self.short = set()
        self.ran = []

    def prepare(self, variant, task):
        return self.seconds.get(variant.key, 0.1)

    def run(self, variant, task):
        self.ran.append((variant.key, task))
        count = task.tokens - (variant.key in self.short)
        seconds = count * self.prepare(variant, task)
        self.clock.now += seconds
        tokens = (task.prompt[0], round(10 * task.temperature), *range(count - 2))
        return Run(tokens, seconds, seconds / count, 1, count, 0, 0, {"overlap": 0.0})

    def facts(self, variant):
        return variant.key

    def ours(self, variant):
        return None

    def close_one(self, variant):
        pass


class Silent:
    def begin(self, phase, steps):
        pass

    def step(self, text):
        pass


@pytest.fixture
def make(monkeypatch):
    """An experiment with its sessions and results, from contenders' names and settings."""
    monkeypatch.setattr("amusd.bench.common.available", lambda: Inventory((0, 1)))
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)

    def start(names, keep=lambda results: None, **given):
        options = {"num_prompts": 2, "max_tokens": 20, "repeats": 3, "ks": (3, 7), "drafts": ("demo-small",)}
        settings = read_settings(quick=True, **options | given)
        sessions = FakeSessions(clock)
        chosen = [contender for contender in BY_KEY.values() if contender.key in names]
        facts = [PromptFacts(str(ids), "code", 1) for ids in PROMPTS]
        results = Results(settings.to_dict(), {}, prompts=facts)
        made = Experiment(settings, chosen, PROMPTS, sessions, results, Silent(), 0.0, keep)
        return made, sessions, results

    return start


def run(experiment):
    experiment.tune()
    experiment.load()
    experiment.measure()


def measured(results, repeat, temperature):
    """The variants of a repeat in order."""
    keys = [
        record.variant
        for record in results.records
        if (record.phase, record.repeat, record.temperature) == ("measure", repeat, temperature)
    ]
    return list(dict.fromkeys(keys))


def test_every_repeat_runs_everybody_once_on_all_prompts_in_rotated_order(make):
    experiment, _, results = make(("transformers [target]", "alone [target]", "async"))
    run(experiment)
    first, second, third = (measured(results, repeat, 1.0) for repeat in range(3))
    assert sorted(first) == ["alone [target]", "async, demo-small", "transformers [target]"]
    assert second == first[1:] + first[:1]
    assert third == second[1:] + second[:1]
    assert len(results.records) == 3 * 2 * 3 * 2


def test_the_order_follows_the_seed(make):
    names = ("transformers [target]", "transformers [all]", "alone [target]", "alone [all]", "async")

    def order(seed):
        experiment, _, results = make(names, seed=seed)
        run(experiment)
        return measured(results, 0, 0.0)

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(5)}) > 1


def test_the_fastest_k_is_chosen_for_each_draft_on_prompts_that_are_not_measured(make):
    experiment, sessions, results = make(("sync",), drafts=("demo-small", "demo-large"))
    sessions.seconds = {"sync, demo-small, k=3": 0.01, "sync, demo-large, k=7": 0.01}
    run(experiment)
    assert sorted(measured(results, 0, 0.0)) == ["sync, demo-large, k=7", "sync, demo-small, k=3"]
    assert {record.prompt for record in results.records if record.phase == "tune"} == {2}
    assert {record.prompt for record in results.records if record.phase == "measure"} == {0, 1}


def test_what_has_one_setting_is_not_tuned(make):
    experiment, sessions, _ = make(("async", "alone [target]"))
    experiment.tune()
    assert sessions.ran == []


def test_the_seed_of_a_prompt_is_its_number_in_every_repeat(make):
    experiment, sessions, _ = make(("alone [target]",))
    run(experiment)
    assert {(task.prompt, task.seed) for _, task in sessions.ran} == {((1,), 0), ((2,), 1)}


def test_alone_is_the_reference_at_every_temperature(make):
    experiment, _, results = make(("alone [target]", "async"))
    run(experiment)
    assert results.reference == "alone [target]"
    assert [ids[:2] for ids in results.references[1.0]] == [[1, 10], [2, 10]]
    assert [ids[:2] for ids in results.references[0.0]] == [[1, 0], [2, 0]]


def test_without_any_of_ours_there_is_no_reference(make):
    experiment, _, results = make(("transformers [target]",))
    run(experiment)
    assert (results.reference, results.references) == ("", {})


def test_what_was_measured_is_kept_after_each_repeat_and_can_be_shown(make, tmp_path):
    kept = []

    def keep(results):
        kept.append((len(results.records), results.seconds))
        results.write(tmp_path / "results.json", {})
        summary = summarize(read_results(tmp_path / "results.json"))
        assert not summary.differing
        assert results.reference == "alone [target]"

    experiment, _, results = make(("alone [target]", "async"), keep=keep)
    run(experiment)
    # A repeat is 2 contenders x 2 temperatures x 2 prompts x 20 tokens of a tenth of a second.
    assert kept == [(8, pytest.approx(16.0)), (16, pytest.approx(32.0)), (24, pytest.approx(48.0))]
    assert len(results.records) == 24


def test_repeats_end_when_the_next_one_would_be_late(make):
    # A repeat takes 2 temperatures x 2 prompts x 20 tokens = 80 s of the 240.
    experiment, sessions, results = make(("alone [target]",), repeats=5)
    sessions.seconds = {"alone [target]": 1.0}
    run(experiment)
    assert {record.repeat for record in results.records} == {0, 1, 2}


def test_outputs_are_shortened_where_one_repeat_would_be_late(make):
    # 240 s over 2 temperatures x 2 prompts x 3 s a token: 20 tokens; at 3.5 s 17; never below 16.
    for seconds, tokens in ((3.0, 20), (3.5, 17), (60.0, 16)):
        experiment, sessions, results = make(("alone [target]",), max_tokens=30)
        sessions.clock.now = 0.0
        sessions.seconds = {"alone [target]": seconds}
        run(experiment)
        assert {record.tokens for record in results.records} == {tokens}
        assert results.settings["max_tokens"] == tokens


def test_choosing_k_ends_when_its_time_is_up_and_takes_the_best_so_far(make):
    # 24 tokens at 30 s: the first setting alone takes 720 s at each temperature.
    experiment, sessions, results = make(("sync",))
    sessions.seconds = {"sync, demo-small, k=3": 30.0, "sync, demo-small, k=7": 0.01}
    run(experiment)
    assert measured(results, 0, 0.0) == ["sync, demo-small, k=3"]


def test_an_output_that_is_too_short_is_an_error_that_names_the_prompt(make):
    experiment, sessions, _ = make(("alone [target]",))
    sessions.short = {"alone [target]"}
    with pytest.raises(InputError, match=r"--max-tokens: 20: prompt 0 leaves alone \[target\] room for 19"):
        run(experiment)
