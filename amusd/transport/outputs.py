"""Chunks and outputs to and from the wire, for servers and their clients."""

import json
from dataclasses import fields
from typing import Any

from amusd.outputs import Chunk, RequestMetrics, RequestOutput
from amusd.rpc.v1 import inference_pb2

METRICS = tuple(field.name for field in fields(RequestMetrics))


def output_to_wire(output: RequestOutput) -> inference_pb2.Output:
    """The inverse of ``output_from_wire``."""
    return inference_pb2.Output(
        prompt=output.prompt,
        prompt_token_ids=output.prompt_token_ids,
        text=output.text,
        token_ids=output.token_ids,
        finish_reason=output.finish_reason,
        seed=output.seed,
        metrics=json.dumps(output.metrics.to_dict()),
        notes=output.notes,
    )


def output_from_wire(message: inference_pb2.Output) -> RequestOutput:
    """A finished request; metrics that this version does not know are left out."""
    metrics: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in json.loads(message.metrics).items()
        if name in METRICS
    }
    return RequestOutput(
        prompt=message.prompt if message.HasField("prompt") else None,
        prompt_token_ids=tuple(message.prompt_token_ids),
        text=message.text,
        token_ids=tuple(message.token_ids),
        finish_reason=message.finish_reason,
        seed=message.seed,
        metrics=RequestMetrics(**metrics),
        notes=tuple(message.notes),
    )


def chunk_to_wire(chunk: Chunk) -> inference_pb2.Chunk:
    """The inverse of ``chunk_from_wire``."""
    return inference_pb2.Chunk(
        token_ids=chunk.token_ids,
        drafted=chunk.drafted,
        spans=[inference_pb2.Span(text=text, drafted=drafted) for text, drafted in chunk.spans],
        finished=None if chunk.finished is None else output_to_wire(chunk.finished),
    )


def chunk_from_wire(message: inference_pb2.Chunk) -> Chunk:
    """What one commit added."""
    spans = tuple((span.text, span.drafted) for span in message.spans)
    return Chunk(
        text="".join(text for text, _ in spans),
        token_ids=tuple(message.token_ids),
        drafted=tuple(message.drafted),
        spans=spans,
        finished=output_from_wire(message.finished) if message.HasField("finished") else None,
    )
