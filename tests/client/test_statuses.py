"""An error on the server is the same error at its client."""

import grpc
import pytest

from amusd.errors import (
    AbortedError,
    AccessError,
    AmusdError,
    BusyError,
    DeadlineError,
    DeviceError,
    InputError,
    ModelError,
    UnavailableError,
    WorkerError,
)
from amusd.transport.statuses import DETAILS_KEY, code_of, details_of, error_of, trailer_of


class FakeCall(grpc.RpcError):
    """As grpc raises it."""

    def __init__(self, code, text, packed=None):
        self._parts = code, text, packed

    def code(self):
        return self._parts[0]

    def details(self):
        return self._parts[1]

    def trailing_metadata(self):
        return () if self._parts[2] is None else ((DETAILS_KEY, self._parts[2]),)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("top_p", 2, "give at most 1"), "INVALID_ARGUMENT"),
        (AccessError("a key"), "UNAUTHENTICATED"),
        (BusyError("full"), "RESOURCE_EXHAUSTED"),
        (UnavailableError("starting"), "UNAVAILABLE"),
        (AbortedError("gone"), "ABORTED"),
        (DeadlineError("late"), "DEADLINE_EXCEEDED"),
        (ModelError("broken"), "FAILED_PRECONDITION"),
        (WorkerError("died"), "INTERNAL"),
        (AmusdError("something"), "INTERNAL"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_kind_of_error_comes_back_as_it_was(error, code):
    assert code_of(error).name == code
    back = error_of(FakeCall(code_of(error), str(error), details_of(error, "id")), "here:1")
    assert type(back) is type(error)
    assert str(back) == str(error)


@pytest.mark.parametrize("seconds", [7, None])
def test_when_to_try_again_is_in_the_details_and_where_grpc_reads_it(seconds):
    trailer = dict(trailer_of(BusyError("full", seconds), "id"))
    back = error_of(FakeCall(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", trailer[DETAILS_KEY]), "here:1")
    assert back.retry_seconds == seconds
    assert trailer.get("grpc-retry-pushback-ms") == (None if seconds is None else "7000")


def test_a_special_input_error_comes_back_with_its_field():
    packed = details_of(DeviceError("d", "x", "y"), "")
    back = error_of(FakeCall(grpc.StatusCode.INVALID_ARGUMENT, "", packed), "here:1")
    assert isinstance(back, InputError)
    assert (back.field, back.value, back.remedy) == ("d", "x", "y")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, UnavailableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineError),
        (grpc.StatusCode.CANCELLED, AbortedError),
        (grpc.StatusCode.UNIMPLEMENTED, AmusdError),
    ],
)
def test_what_grpc_itself_reports_names_the_address(code, kind):
    error = error_of(FakeCall(code, "why"), "here:1")
    assert type(error) is kind
    assert "here:1" in str(error)
