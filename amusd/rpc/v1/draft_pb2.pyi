from amusd.rpc.v1 import common_pb2 as _common_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Connect(_message.Message):
    __slots__ = ("address",)
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    address: str
    def __init__(self, address: _Optional[str] = ...) -> None: ...

class DraftCommand(_message.Message):
    __slots__ = ("open", "abort", "connect")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    ABORT_FIELD_NUMBER: _ClassVar[int]
    CONNECT_FIELD_NUMBER: _ClassVar[int]
    open: _common_pb2.Open
    abort: _common_pb2.Abort
    connect: Connect
    def __init__(self, open: _Optional[_Union[_common_pb2.Open, _Mapping]] = ..., abort: _Optional[_Union[_common_pb2.Abort, _Mapping]] = ..., connect: _Optional[_Union[Connect, _Mapping]] = ...) -> None: ...

class LinkState(_message.Message):
    __slots__ = ("attached", "reason")
    ATTACHED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    attached: bool
    reason: str
    def __init__(self, attached: bool = ..., reason: _Optional[str] = ...) -> None: ...

class DraftEvent(_message.Message):
    __slots__ = ("welcome", "link", "refused")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    LINK_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    welcome: _common_pb2.Welcome
    link: LinkState
    refused: _common_pb2.Refused
    def __init__(self, welcome: _Optional[_Union[_common_pb2.Welcome, _Mapping]] = ..., link: _Optional[_Union[LinkState, _Mapping]] = ..., refused: _Optional[_Union[_common_pb2.Refused, _Mapping]] = ...) -> None: ...
