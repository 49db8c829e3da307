"""Numbers of one request in vLLM's form."""

from dataclasses import replace

from amusd.serving.answers import speculation
from tests.cli.fakes import METRICS


def test_the_histogram_counts_steps_by_what_they_accepted():
    # Five steps verified drafts; four accepted one or more, two of these two or more, none three.
    metrics = replace(
        METRICS,
        verified=12,
        accepted=6,
        depth_verified=(5, 4, 2),
        depth_accepted=(4, 2, 0),
        acceptance_rate=0.5,
    )
    found = speculation(metrics, 3)
    assert found["acceptance_histogram"] == [1, 2, 2, 0]
    assert found["num_spec_steps"] == sum(found["acceptance_histogram"]) == 5
    assert found["mean_acceptance_length"] == 1 + 6 / 5
    assert found["draft_acceptance_rate"] == 0.5


def test_a_request_without_drafts_has_a_histogram_of_nothing():
    metrics = replace(METRICS, verified=0, accepted=0, depth_verified=(), depth_accepted=())
    found = speculation(metrics, 2)
    assert found["acceptance_histogram"][0] == found["num_spec_steps"] == 0
    assert found["mean_acceptance_length"] == 1.0
