"""What cannot be decoded is refused before anything is opened."""

import pytest

from amusd.coordinator.admission import check_request
from amusd.errors import InputError
from amusd.params import SamplingParams


def check(in_process=False, engine_rule="race", **settings):
    check_request(
        [1],
        SamplingParams(**settings),
        vocabulary_size=10,
        length_max=50,
        rule=engine_rule,
        in_process=in_process,
    )


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("stop_token_ids", {"stop_token_ids": [10]}),
        ("logit_bias", {"logit_bias": {10: 1.0}}),
        ("allowed_token_ids", {"allowed_token_ids": [1, 10]}),
        ("bad_words_ids", {"bad_words_ids": [[1, 10]]}),
    ],
)
def test_every_field_that_names_a_token_is_held_to_the_vocabulary(field, settings):
    with pytest.raises(InputError, match=rf"^{field}: .*0 to 9"):
        check(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"bad_words_ids": [[3], [4]]},
        {"stop_token_ids": [3, 4], "min_tokens": 1},
        {"stop_token_ids": [3], "min_tokens": 1, "bad_words_ids": [[4]]},
    ],
)
def test_what_leaves_no_allowed_token_to_choose_is_refused(settings):
    with pytest.raises(InputError, match=r"^allowed_token_ids: \[3, 4\]"):
        check(allowed_token_ids=[3, 4], **settings)
    check(allowed_token_ids=[3, 4, 5], **settings)


def test_end_tokens_may_be_all_that_is_allowed_where_the_output_may_be_empty():
    check(allowed_token_ids=[3], stop_token_ids=[3])


def test_functions_are_taken_only_in_the_process_that_calls_them():
    functions = [lambda ids, scores: scores]
    check(in_process=True, logits_processors=functions)
    with pytest.raises(InputError, match=r"^logits_processors: .*inprocess"):
        check(logits_processors=functions)


@pytest.mark.parametrize("engine_rule", ["race", "topk", "spechub"])
def test_a_request_may_ask_for_the_engine_s_rule_or_for_one_that_writes_the_target_s_bytes(engine_rule):
    for rule in (None, "race", "topk", engine_rule):
        check(engine_rule=engine_rule, rule=rule)
    with pytest.raises(
        InputError, match=rf"^rule: kseq: this engine draws by {engine_rule}: ask for race or topk, or"
    ):
        check(engine_rule=engine_rule, rule="kseq")
