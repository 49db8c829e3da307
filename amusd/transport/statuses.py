"""Errors as gRPC statuses with details, and back: a client raises what the server raised.

The details are a `google.rpc.Status` in the trailing metadata (google.aip.dev/193): `BadRequest` for the
field of an `InputError`, `RetryInfo` for when a `BusyError` may be over, `ErrorInfo` for the kind of any.
When to try again stands beside it too, where gRPC itself reads it when it sends a call again.
"""

from typing import Any, Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from amusd.errors import (
    AbortedError,
    AccessError,
    AmusdError,
    BusyError,
    DeadlineError,
    InputError,
    ModelError,
    UnavailableError,
    WorkerError,
)

DETAILS_KEY: Final = "grpc-status-details-bin"
PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"
DOMAIN: Final = "amusd"

# The most special first: the first kind that an error is of is the one it is sent as.
_CODES: Final[tuple[tuple[type[AmusdError], grpc.StatusCode], ...]] = (
    (InputError, grpc.StatusCode.INVALID_ARGUMENT),
    (AccessError, grpc.StatusCode.UNAUTHENTICATED),
    (BusyError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (UnavailableError, grpc.StatusCode.UNAVAILABLE),
    (AbortedError, grpc.StatusCode.ABORTED),
    (DeadlineError, grpc.StatusCode.DEADLINE_EXCEEDED),
    (ModelError, grpc.StatusCode.FAILED_PRECONDITION),
    (WorkerError, grpc.StatusCode.INTERNAL),
)
_KINDS: Final = {kind.__name__: kind for kind, _ in _CODES}


def code_of(error: AmusdError) -> grpc.StatusCode:
    """The status that an error is sent with."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


def details_of(error: AmusdError, request_id: str) -> bytes:
    """The details of an error, as they are sent."""
    kind = next((kind.__name__ for kind, _ in _CODES if isinstance(error, kind)), "AmusdError")
    info = error_details_pb2.ErrorInfo(reason=kind, domain=DOMAIN)
    details: list[object] = [info, error_details_pb2.RequestInfo(request_id=request_id)]
    if isinstance(error, InputError):
        info.metadata["value"] = str(error.value)
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.remedy)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, BusyError) and error.retry_seconds is not None:
        delay = Duration(seconds=error.retry_seconds)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=code_of(error).value[0], message=str(error))
    for detail in details:
        status.details.add().Pack(detail)
    return bytes(status.SerializeToString())


def trailer_of(error: AmusdError, request_id: str) -> tuple[tuple[str, str | bytes], ...]:
    """The trailing metadata of an error."""
    details = (DETAILS_KEY, details_of(error, request_id))
    if isinstance(error, BusyError) and error.retry_seconds is not None:
        return details, (PUSHBACK_KEY, str(1000 * error.retry_seconds))
    return (details,)


def error_of(error: grpc.RpcError, address: str) -> AmusdError:
    """What a failed call means to its caller.

    Args:
        error: with the methods of `grpc.Call`, as grpc raises them.
        address: of the server, for the message.
    """
    code, text = error.code(), error.details() or ""
    packed = dict(error.trailing_metadata() or ()).get(DETAILS_KEY)
    if packed is not None:
        return _unpack(status_pb2.Status.FromString(packed))
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineError(f"{address} did not answer in the time given")
    if code is grpc.StatusCode.UNAVAILABLE:
        return UnavailableError(f"{address} cannot be reached: {text}")
    if code is grpc.StatusCode.CANCELLED:
        return AbortedError(f"the call to {address} was cancelled")
    return AmusdError(f"{address}: {code.name}: {text}")


def _unpack(status: status_pb2.Status) -> AmusdError:
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        for message in (info, bad, retry):
            _take(detail, message)
    if bad.field_violations:
        violation = bad.field_violations[0]
        return InputError(violation.field, info.metadata["value"], violation.description)
    if info.reason == BusyError.__name__:
        return BusyError(status.message, retry.retry_delay.seconds or None)
    return _KINDS.get(info.reason, AmusdError)(status.message)


def _take(detail: AnyMessage, message: Any) -> None:
    if detail.Is(message.DESCRIPTOR):
        detail.Unpack(message)
