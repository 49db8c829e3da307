"""Outputs and chunks go over the wire and come back as they were."""

import pytest

from amusd.logprobs import Logprob
from amusd.outputs import Chunk, RequestOutput
from amusd.transport.outputs import chunk_from_wire, chunk_to_wire, output_from_wire, output_to_wire
from tests.cli.fakes import METRICS

ROWS = [{5: Logprob(-0.1, 1, "a"), 7: Logprob(-2.5, 2, " b")}, {9: Logprob(-1e-9, None, None)}]
SIBLING = RequestOutput(None, (1, 2), "x", (3,), "stop", 4, METRICS, stop_reason=0, index=1)
STOPPED = RequestOutput(
    None, (1,), "", (), "stop", 0, METRICS, stop_reason="END", logprobs=[], cumulative_logprob=0.0
)
OUTPUTS = {
    "plain": RequestOutput("p", (1, 2), "text", (3, 4), "length", 2**63 - 1, METRICS, ("note",)),
    "empty": STOPPED,
    "logprobs": RequestOutput(
        "p", (1, 2), "t", (3, 4), "stop", 1, METRICS, logprobs=ROWS, prompt_logprobs=[None, ROWS[0]]
    ),
    "siblings": RequestOutput("", (1,), "t", (3,), "length", 1, METRICS, siblings=(SIBLING,)),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_comes_back_as_it_was(name):
    assert output_from_wire(output_to_wire(OUTPUTS[name])) == OUTPUTS[name]


@pytest.mark.parametrize("logprobs", [None, [], ROWS], ids=["none", "empty", "some"])
@pytest.mark.parametrize("finished", [None, OUTPUTS["plain"]], ids=["going on", "finished"])
def test_a_chunk_comes_back_as_it_was(logprobs, finished):
    spans = (("a", "accepted"), ("", "own"), ("\nb", "foreseen"))
    chunk = Chunk("a\nb", (1, 2), ("accepted", "foreseen"), spans, finished, 3, logprobs)
    assert chunk_from_wire(chunk_to_wire(chunk)) == chunk
