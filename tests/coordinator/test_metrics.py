"""What a request's numbers say of its drafters."""

from amusd.coordinator.live import LiveRequest
from amusd.coordinator.metrics import request_metrics
from amusd.orders import Order
from amusd.outputs import DrafterMetrics
from amusd.params import SamplingParams
from amusd.speculation.ledger import Ledger
from amusd.tracing import Track


def credited(*credits, names):
    request = LiveRequest(Order(1, (5,), 1, 9, frozenset(), 0, 0, SamplingParams()), Ledger(1, (5,)))
    request.statistics = {"credits": credits}
    return request_metrics(request, 4, Track("target"), [], names, traced=True).drafters


def test_drafters_have_the_names_that_notes_give_them_and_lookups_their_own():
    found = credited([77, 9, 5, 3, 1], ["prompt-lookup", 8, 4, 2, 0], names={77: "draft 0"})
    assert found == (DrafterMetrics("draft 0", 9, 5, 3, 1), DrafterMetrics("prompt-lookup", 8, 4, 2, 0))


def test_a_drafter_that_was_started_again_is_one_drafter():
    found = credited([77, 9, 5, 3, 1], [78, 1, 1, 1, 1], names={77: "draft 0", 78: "draft 0"})
    assert found == (DrafterMetrics("draft 0", 10, 6, 4, 2),)


def test_a_drafter_that_the_coordinator_never_met_is_shown_all_the_same():
    assert credited([77, 9, 5, 3, 1], names={})[0].name == "drafter 77"
