"""The table of drafted tokens by live requests: what it says, its file, and the policy that follows it."""

import json
from dataclasses import asdict

import pytest

from amusd.errors import InputError
from amusd.policies.costs import CostCurve
from amusd.policies.leading import NOTHING
from amusd.policies.table import SpeculationTable, best_table, read_table
from amusd.policies.verifying import verify_policy

TABLE = SpeculationTable({2: 5, 8: 3, 32: 0})
COSTS = CostCurve({4: 0.01})


@pytest.mark.parametrize(("requests", "k"), [(1, 5), (2, 5), (7, 5), (8, 3), (31, 3), (32, 0), (99, 0)])
def test_the_largest_measured_number_of_requests_that_is_no_larger_holds_and_below_the_first_the_first(
    requests, k
):
    assert TABLE.k(requests) == k


def test_every_request_gets_as_many_nodes_as_the_table_says_or_all_that_it_has():
    reaches = {request: [0.9] * count for request, count in ((1, 7), (2, 4), (3, 0))}
    assert TABLE(reaches, COSTS) == {1: 5, 2: 4, 3: 0}
    many = {request: [0.9] * 7 for request in range(9)}
    assert set(TABLE(many, COSTS).values()) == {3}


def test_of_equally_fast_numbers_the_least_is_taken():
    table = best_table({1: {0: 10.0, 3: 20.0, 7: 20.0}, 4: {0: 30.0, 3: 29.0}}, {})
    assert table.k_by_requests == {1: 3, 4: 0}


def test_the_policy_waits_for_a_node_that_the_table_wants_and_for_no_other():
    policy = verify_policy("async", 7, "table", SpeculationTable({1: 2, 2: 0}))
    rooms = {1: 99, 2: 99}
    assert policy.deadline({1: []}, rooms, prospect=0.9, now=1.0) > 1.0
    assert policy.deadline({1: [0.9, 0.9]}, rooms, prospect=0.9, now=1.0) == 1.0
    assert policy.deadline({1: [], 2: []}, rooms, prospect=0.9, now=1.0) == 1.0
    assert policy.widths({1: [0.9] * 7}) == {1: 2}
    assert policy.widths({1: [0.9] * 7, 2: [0.9] * 7}) == {1: 0, 2: 0}


def test_a_node_is_worth_something_to_the_last_number_of_requests_or_nothing_is():
    policy = verify_policy("async", 7, "table", SpeculationTable({1: 2, 2: 0}))
    assert policy.price == 0
    for requests, price in ((2, NOTHING), (1, 0), (3, NOTHING)):
        policy.on_pass(dict.fromkeys(range(requests), 0), dict.fromkeys(range(requests), 0), 1.0)
        assert policy.price == price


def test_a_file_reads_back_as_it_was_written(tmp_path):
    table = best_table({1: {0: 10.0, 7: 20.5}, 16: {0: 30.0, 7: 12.0}}, {"target": "demo"})
    table.write(tmp_path / "table.json")
    assert read_table(tmp_path / "table.json") == table
    assert asdict(table)["k_by_requests"] == {1: 7, 16: 0}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "cannot be read"),
        ("[]", "is not an object with k_by_requests"),
        ({"about": {}}, "is not an object with k_by_requests"),
        ({"k_by_requests": {"1": 7}, "extra": 1}, "nothing but about, k_by_requests, tokens_per_second"),
        ({"k_by_requests": {}}, "k_by_requests holds no numbers"),
        ({"k_by_requests": {"0": 7}}, "k_by_requests has '0' for a number of requests"),
        ({"k_by_requests": {"one": 7}}, "k_by_requests has 'one' for a number of requests"),
        ({"k_by_requests": {"1": 65}}, "k_by_requests has 65 at 1 requests"),
        ({"k_by_requests": {"1": -1}}, "k_by_requests has -1 at 1 requests"),
        ({"k_by_requests": {"1": True}}, "k_by_requests has True at 1 requests"),
        ({"k_by_requests": {"1": 7}, "tokens_per_second": {"1": 3}}, "tokens_per_second is not a number"),
    ],
)
def test_another_file_is_refused_with_its_name_and_what_is_wrong(tmp_path, content, complaint):
    path = tmp_path / "table.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError) as refused:
        read_table(path)
    assert str(refused.value).startswith(f"policy_table: {path}")
    assert complaint in str(refused.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path / "none.json")
