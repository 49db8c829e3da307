from amusd.rpc.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Commits(_message.Message):
    __slots__ = ("columns", "logprobs")
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    columns: bytes
    logprobs: bytes
    def __init__(self, columns: _Optional[bytes] = ..., logprobs: _Optional[bytes] = ...) -> None: ...

class TargetCommand(_message.Message):
    __slots__ = ("open", "abort", "have")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    ABORT_FIELD_NUMBER: _ClassVar[int]
    HAVE_FIELD_NUMBER: _ClassVar[int]
    open: _common_pb2.Open
    abort: _common_pb2.Abort
    have: _common_pb2.Have
    def __init__(self, open: _Optional[_Union[_common_pb2.Open, _Mapping]] = ..., abort: _Optional[_Union[_common_pb2.Abort, _Mapping]] = ..., have: _Optional[_Union[_common_pb2.Have, _Mapping]] = ...) -> None: ...

class TargetEvent(_message.Message):
    __slots__ = ("welcome", "commits", "refused", "statistics")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    COMMITS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    welcome: _common_pb2.Welcome
    commits: Commits
    refused: _common_pb2.Refused
    statistics: Statistics
    def __init__(self, welcome: _Optional[_Union[_common_pb2.Welcome, _Mapping]] = ..., commits: _Optional[_Union[Commits, _Mapping]] = ..., refused: _Optional[_Union[_common_pb2.Refused, _Mapping]] = ..., statistics: _Optional[_Union[Statistics, _Mapping]] = ...) -> None: ...

class Statistics(_message.Message):
    __slots__ = ("request", "values")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    request: int
    values: bytes
    def __init__(self, request: _Optional[int] = ..., values: _Optional[bytes] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("incarnation", "requests", "lengths")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    LENGTHS_FIELD_NUMBER: _ClassVar[int]
    incarnation: int
    requests: _containers.RepeatedScalarFieldContainer[int]
    lengths: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, incarnation: _Optional[int] = ..., requests: _Optional[_Iterable[int]] = ..., lengths: _Optional[_Iterable[int]] = ...) -> None: ...

class Propose(_message.Message):
    __slots__ = ("columns",)
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    columns: bytes
    def __init__(self, columns: _Optional[bytes] = ...) -> None: ...

class DrafterFrame(_message.Message):
    __slots__ = ("hello", "propose", "have")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    PROPOSE_FIELD_NUMBER: _ClassVar[int]
    HAVE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    propose: Propose
    have: _common_pb2.Have
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., propose: _Optional[_Union[Propose, _Mapping]] = ..., have: _Optional[_Union[_common_pb2.Have, _Mapping]] = ...) -> None: ...

class Attached(_message.Message):
    __slots__ = ("request", "start", "tokens")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    request: int
    start: int
    tokens: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, request: _Optional[int] = ..., start: _Optional[int] = ..., tokens: _Optional[_Iterable[int]] = ...) -> None: ...

class Close(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: int
    def __init__(self, request: _Optional[int] = ...) -> None: ...

class TargetFrame(_message.Message):
    __slots__ = ("attached", "commits", "closed", "price")
    ATTACHED_FIELD_NUMBER: _ClassVar[int]
    COMMITS_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    attached: _containers.RepeatedCompositeFieldContainer[Attached]
    commits: Commits
    closed: _containers.RepeatedCompositeFieldContainer[Close]
    price: float
    def __init__(self, attached: _Optional[_Iterable[_Union[Attached, _Mapping]]] = ..., commits: _Optional[_Union[Commits, _Mapping]] = ..., closed: _Optional[_Iterable[_Union[Close, _Mapping]]] = ..., price: _Optional[float] = ...) -> None: ...

class TreesRequest(_message.Message):
    __slots__ = ("nodes_max",)
    NODES_MAX_FIELD_NUMBER: _ClassVar[int]
    nodes_max: int
    def __init__(self, nodes_max: _Optional[int] = ...) -> None: ...

class Guess(_message.Message):
    __slots__ = ("token", "parent", "reach")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    REACH_FIELD_NUMBER: _ClassVar[int]
    token: int
    parent: int
    reach: float
    def __init__(self, token: _Optional[int] = ..., parent: _Optional[int] = ..., reach: _Optional[float] = ...) -> None: ...

class Tree(_message.Message):
    __slots__ = ("request", "token", "guesses")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    GUESSES_FIELD_NUMBER: _ClassVar[int]
    request: int
    token: int
    guesses: _containers.RepeatedCompositeFieldContainer[Guess]
    def __init__(self, request: _Optional[int] = ..., token: _Optional[int] = ..., guesses: _Optional[_Iterable[_Union[Guess, _Mapping]]] = ...) -> None: ...

class TreesReply(_message.Message):
    __slots__ = ("trees",)
    TREES_FIELD_NUMBER: _ClassVar[int]
    trees: _containers.RepeatedCompositeFieldContainer[Tree]
    def __init__(self, trees: _Optional[_Iterable[_Union[Tree, _Mapping]]] = ...) -> None: ...
