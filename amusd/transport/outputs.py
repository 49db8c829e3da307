"""Chunks and outputs to and from the wire, for servers and their clients."""

import json
from collections.abc import Sequence

from amusd.logprobs import Logprob
from amusd.outputs import Chunk, RequestMetrics, RequestOutput
from amusd.rpc.v1 import inference_pb2
from amusd.speculation.messages import ORIGINS

Position = dict[int, Logprob]


def output_to_wire(output: RequestOutput) -> inference_pb2.Output:
    """The inverse of ``output_from_wire``."""
    message = inference_pb2.Output(
        prompt=output.prompt,
        prompt_token_ids=output.prompt_token_ids,
        text=output.text,
        token_ids=output.token_ids,
        finish_reason=output.finish_reason,
        seed=output.seed,
        metrics=json.dumps(output.metrics.to_dict()),
        notes=output.notes,
        index=output.index,
        logprobs=_logprobs_to_wire(output.logprobs),
        prompt_logprobs=_logprobs_to_wire(output.prompt_logprobs),
        siblings=[output_to_wire(sibling) for sibling in output.siblings],
    )
    if output.cumulative_logprob is not None:
        message.cumulative_logprob = output.cumulative_logprob
    if isinstance(output.stop_reason, str):
        message.stop_string = output.stop_reason
    elif output.stop_reason is not None:
        message.stop_token = output.stop_reason
    return message


def output_from_wire(message: inference_pb2.Output) -> RequestOutput:
    """A finished request."""
    stop: str | int | None = None
    if (stopped_by := message.WhichOneof("stop_reason")) is not None:
        stop = message.stop_string if stopped_by == "stop_string" else message.stop_token
    asked = message.HasField("logprobs")
    prompt = _logprobs_from_wire(message.prompt_logprobs)
    return RequestOutput(
        prompt=message.prompt if message.HasField("prompt") else None,
        prompt_token_ids=tuple(message.prompt_token_ids),
        text=message.text,
        token_ids=tuple(message.token_ids),
        finish_reason=message.finish_reason,
        seed=message.seed,
        metrics=RequestMetrics.from_dict(json.loads(message.metrics)),
        notes=tuple(message.notes),
        stop_reason=stop,
        index=message.index,
        logprobs=_logprobs_from_wire(message.logprobs) if asked else None,
        cumulative_logprob=message.cumulative_logprob if message.HasField("cumulative_logprob") else None,
        prompt_logprobs=[None, *prompt[1:]] if message.HasField("prompt_logprobs") else None,
        siblings=tuple(output_from_wire(sibling) for sibling in message.siblings),
    )


def chunk_to_wire(chunk: Chunk) -> inference_pb2.Chunk:
    """The inverse of ``chunk_from_wire``."""
    return inference_pb2.Chunk(
        token_ids=chunk.token_ids,
        origins=[origin.upper() for origin in chunk.origins],
        spans=[inference_pb2.Span(text=text, origin=origin.upper()) for text, origin in chunk.spans],
        finished=None if chunk.finished is None else output_to_wire(chunk.finished),
        index=chunk.index,
        logprobs=_logprobs_to_wire(chunk.logprobs),
    )


def chunk_from_wire(message: inference_pb2.Chunk) -> Chunk:
    """What one commit added."""
    spans = tuple((span.text, ORIGINS[span.origin]) for span in message.spans)
    return Chunk(
        text="".join(text for text, _ in spans),
        token_ids=tuple(message.token_ids),
        origins=tuple(ORIGINS[place] for place in message.origins),
        spans=spans,
        finished=output_from_wire(message.finished) if message.HasField("finished") else None,
        index=message.index,
        logprobs=_logprobs_from_wire(message.logprobs) if message.HasField("logprobs") else None,
    )


def _logprobs_to_wire(positions: Sequence[Position | None] | None) -> inference_pb2.Logprobs | None:
    if positions is None:
        return None
    return inference_pb2.Logprobs(
        positions=[
            inference_pb2.PositionLogprobs(
                tokens=[
                    inference_pb2.TokenLogprob(
                        token=token, logprob=found.logprob, rank=found.rank, decoded_token=found.decoded_token
                    )
                    for token, found in (position or {}).items()
                ]
            )
            for position in positions
        ]
    )


def _logprobs_from_wire(message: inference_pb2.Logprobs) -> list[Position]:
    return [
        {
            found.token: Logprob(
                found.logprob,
                found.rank if found.HasField("rank") else None,
                found.decoded_token if found.HasField("decoded_token") else None,
            )
            for found in position.tokens
        }
        for position in message.positions
    ]
