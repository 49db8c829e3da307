"""A worker's gRPC server: its own services, health and reflection."""

from collections.abc import Callable, Mapping
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from amusd.errors import InputError
from amusd.transport.options import SERVER_OPTIONS


async def start_server(
    host: str,
    port: int,
    services: Mapping[str, Callable[[grpc.aio.Server], Any]],
    *,
    credentials: grpc.ServerCredentials | None = None,
    checker: health.aio.HealthServicer | None = None,
) -> tuple[grpc.aio.Server, int]:
    """Serve ``services`` (full name to a function that adds it) and say which port was bound.

    Args:
        port: 0 takes any free port.
        credentials: for TLS.
        checker: answers for the services' health from now on; None says that they serve.

    Raises:
        InputError: the port is in use or the host is not an address of this machine.
    """
    server = grpc.aio.server(options=SERVER_OPTIONS)
    for add in services.values():
        add(server)
    if checker is None:
        checker = health.aio.HealthServicer()
        for name in ("", *services):
            await checker.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checker, server)
    reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    try:
        where = f"{host}:{port}"
        bound = (
            server.add_insecure_port(where)
            if credentials is None
            else server.add_secure_port(where, credentials)
        )
    except RuntimeError as error:
        raise InputError(
            "port", f"{host}:{port}", "it is in use or not on this machine: choose another, or 0"
        ) from error
    await server.start()
    return server, bound
