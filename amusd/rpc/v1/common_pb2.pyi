from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Open(_message.Message):
    __slots__ = ("request", "tokens", "prompt_length", "length_max", "end_tokens", "seed", "sample_index", "sampling", "speculative", "num_speculative_tokens", "priority", "deadline_seconds")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    LENGTH_MAX_FIELD_NUMBER: _ClassVar[int]
    END_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_INDEX_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    SPECULATIVE_FIELD_NUMBER: _ClassVar[int]
    NUM_SPECULATIVE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    request: int
    tokens: _containers.RepeatedScalarFieldContainer[int]
    prompt_length: int
    length_max: int
    end_tokens: _containers.RepeatedScalarFieldContainer[int]
    seed: int
    sample_index: int
    sampling: bytes
    speculative: bool
    num_speculative_tokens: int
    priority: int
    deadline_seconds: float
    def __init__(self, request: _Optional[int] = ..., tokens: _Optional[_Iterable[int]] = ..., prompt_length: _Optional[int] = ..., length_max: _Optional[int] = ..., end_tokens: _Optional[_Iterable[int]] = ..., seed: _Optional[int] = ..., sample_index: _Optional[int] = ..., sampling: _Optional[bytes] = ..., speculative: bool = ..., num_speculative_tokens: _Optional[int] = ..., priority: _Optional[int] = ..., deadline_seconds: _Optional[float] = ...) -> None: ...

class Abort(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: int
    def __init__(self, request: _Optional[int] = ...) -> None: ...

class Have(_message.Message):
    __slots__ = ("request", "length")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    request: int
    length: int
    def __init__(self, request: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...

class Refused(_message.Message):
    __slots__ = ("request", "field", "value", "remedy")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    request: int
    field: str
    value: str
    remedy: str
    def __init__(self, request: _Optional[int] = ..., field: _Optional[str] = ..., value: _Optional[str] = ..., remedy: _Optional[str] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("incarnation",)
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    incarnation: int
    def __init__(self, incarnation: _Optional[int] = ...) -> None: ...

class InfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InfoReply(_message.Message):
    __slots__ = ("role", "device", "incarnation", "pid", "clock_ns", "details")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    CLOCK_NS_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    role: str
    device: str
    incarnation: int
    pid: int
    clock_ns: int
    details: str
    def __init__(self, role: _Optional[str] = ..., device: _Optional[str] = ..., incarnation: _Optional[int] = ..., pid: _Optional[int] = ..., clock_ns: _Optional[int] = ..., details: _Optional[str] = ...) -> None: ...

class TraceRequest(_message.Message):
    __slots__ = ("since_ns",)
    SINCE_NS_FIELD_NUMBER: _ClassVar[int]
    since_ns: int
    def __init__(self, since_ns: _Optional[int] = ...) -> None: ...

class TraceReply(_message.Message):
    __slots__ = ("incarnation", "events")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    incarnation: int
    events: bytes
    def __init__(self, incarnation: _Optional[int] = ..., events: _Optional[bytes] = ...) -> None: ...

class OccupancyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class OccupancyReply(_message.Message):
    __slots__ = ("counts", "seconds", "price", "waits")
    class CountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class SecondsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class WaitsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    WAITS_FIELD_NUMBER: _ClassVar[int]
    counts: _containers.ScalarMap[str, int]
    seconds: _containers.ScalarMap[str, float]
    price: float
    waits: _containers.ScalarMap[str, float]
    def __init__(self, counts: _Optional[_Mapping[str, int]] = ..., seconds: _Optional[_Mapping[str, float]] = ..., price: _Optional[float] = ..., waits: _Optional[_Mapping[str, float]] = ...) -> None: ...
