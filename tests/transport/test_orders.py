"""An order means the same on both sides of the wire."""

from hypothesis import given
from hypothesis import strategies as st

from amusd.orders import Order
from amusd.params import SamplingParams
from amusd.rpc.v1 import common_pb2
from amusd.transport.orders import order_from_wire, order_to_wire

numbers = st.integers(0, 2**31 - 1)
settings = st.builds(
    SamplingParams,
    temperature=st.floats(0, 2),
    top_p=st.floats(0.01, 1),
    max_tokens=st.integers(1, 2**31 - 1),
    stop=st.lists(st.text("ab€", min_size=1, max_size=3), max_size=2),
    logit_bias=st.dictionaries(numbers, st.floats(-100, 100), max_size=2),
)
orders = st.builds(
    Order,
    request=st.integers(0, 2**63 - 1),
    tokens=st.lists(numbers, max_size=5).map(tuple),
    prompt_length=numbers,
    length_max=numbers,
    end_tokens=st.frozensets(numbers, max_size=3),
    seed=st.integers(0, 2**63 - 1),
    sample_index=numbers,
    params=settings,
    speculative=st.booleans(),
    num_speculative_tokens=st.none() | st.integers(0, 64),
    priority=st.integers(-(2**31), 2**31 - 1),
    deadline_seconds=st.none() | st.floats(allow_nan=False, allow_infinity=False),
)


@given(orders)
def test_an_order_comes_back_equal(order):
    assert order_from_wire(common_pb2.Open.FromString(order_to_wire(order).SerializeToString())) == order
