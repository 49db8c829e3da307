"""Admission, and one request from prompt to last chunk."""

import asyncio
import itertools
import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from amusd.coordinator.admission import check_request
from amusd.coordinator.answer import Answer
from amusd.coordinator.bad_words import bad_words_ids
from amusd.coordinator.live import LiveRequest
from amusd.coordinator.merging import merge
from amusd.coordinator.metrics import request_metrics
from amusd.coordinator.places import Places
from amusd.coordinator.session import WorkerState, unreachable
from amusd.coordinator.sessions import DraftSession, TargetSession
from amusd.coordinator.sharing import DraftGroup
from amusd.errors import AmusdError, WorkerError
from amusd.orders import Order
from amusd.outputs import Chunk, RequestMetrics
from amusd.params import SEED_LIMIT, ProcessorsOf, SamplingParams
from amusd.rpc.v1 import target_pb2
from amusd.speculation.ledger import Ledger
from amusd.speculation.messages import RequestId
from amusd.tracing import Track
from amusd.wishes import NO_WISHES, Wishes

ATTACH_SECONDS_MAX = 5.0
CONNECT_POLL_SECONDS = 0.01
AWAY_POLL_SECONDS = 1.0
INFO_TIMEOUT_SECONDS = 10.0
STATISTICS_SECONDS_MAX = 1.0
AWAY_SECONDS_MAX = 1800.0  # as long as a launcher gives a large model to load


@dataclass(frozen=True, slots=True)
class Facts:
    """What the coordinator must know of the target's model."""

    vocabulary_size: int
    length_max: int  # prompt and output of one request, in tokens
    end_tokens: frozenset[int]
    rule: str


class Coordinator:
    """Opens requests on both sides, follows the commits, and turns them into text.

    Args:
        target_address: asked before every connection; see ``WorkerSession``.
        drafts: of each draft worker its model, and its address likewise; those with the same model share the
            requests.
        requests_max: requests decoded at once; more wait their turn (see ``Places``).
        processors: where the target, in this very process, looks for requests' Python logits processors; None
            if it is elsewhere.
        traced: measure the overlap of each request that ends alone, for which the workers send their traces.
            Those of a crowd would send the same ones again and again, while the others wait for a core.
    """

    def __init__(
        self,
        target_address: Callable[[], str],
        drafts: Sequence[tuple[str, Callable[[], str]]],
        tokenizer: Any,
        requests_max: int,
        processors: ProcessorsOf | None = None,
        *,
        traced: bool = True,
    ) -> None:
        self.tokenizer = tokenizer
        # Workers outlive coordinators and take an id for a request that they know: begin where nobody was.
        self._ids = itertools.count(secrets.randbits(31) << 32 | 1)
        self._live: dict[RequestId, LiveRequest] = {}
        self._places = Places(requests_max)
        self._processors = processors
        self._failure: AmusdError | None = None
        self._traced = traced
        self.target = TargetSession("target", target_address, self._fail, self._live, self._retarget)
        self.drafts = [
            DraftSession(f"draft {i}", address, self._note_lost_draft, self._live, target_address)
            for i, (_, address) in enumerate(drafts)
        ]
        models = [model for model, _ in drafts]
        self._groups = [
            DraftGroup([draft for draft, other in zip(self.drafts, models, strict=True) if other == model])
            for model in dict.fromkeys(models)
        ]

    async def start(self) -> None:
        """Connect to the target, ask what it is, and give the drafters a moment to attach to it.

        Raises:
            WorkerError: the target does not answer.
        """
        self.target.start()
        for draft in self.drafts:
            draft.start()
        self._watch = asyncio.create_task(self._watch_target())
        until = time.monotonic() + AWAY_SECONDS_MAX
        while not self.target.connected.is_set():
            if self._failure is not None:
                raise self._failure
            if time.monotonic() > until:
                raise unreachable("the target", AWAY_SECONDS_MAX)
            await asyncio.sleep(CONNECT_POLL_SECONDS)
        info = await self.target.info(INFO_TIMEOUT_SECONDS)
        if info is None:
            raise WorkerError("the target accepted a connection but does not answer: see its log")
        details = json.loads(info.details)
        self.facts = Facts(
            details["vocabulary_size"],
            details["max_model_len"],
            frozenset(details["end_tokens"]),
            details["rule"],
        )
        for draft in self.drafts:
            with suppress(TimeoutError):
                await asyncio.wait_for(draft.attached.wait(), ATTACH_SECONDS_MAX)

    @property
    def sessions(self) -> list[TargetSession | DraftSession]:
        """The target's, then each drafter's."""
        return [self.target, *self.drafts]

    @property
    def live_count(self) -> int:
        """Requests that hold a place now."""
        return len(self._live)

    @property
    def failure(self) -> AmusdError | None:
        """Why no request can be decoded any more; None while it can."""
        return self._failure

    async def states(self) -> dict[str, WorkerState]:
        """What each worker that answers holds and has learned, by name."""
        states = await asyncio.gather(*(session.state(INFO_TIMEOUT_SECONDS) for session in self.sessions))
        named = zip(self.sessions, states, strict=True)
        return {session.name: state for session, state in named if state is not None}

    async def trees(self, nodes_max: int) -> Sequence[target_pb2.Tree]:
        """The speculation tree of each request that the target decodes, its `nodes_max` likeliest nodes."""
        return await self.target.trees(nodes_max)

    async def info(self) -> dict[str, Any]:
        """Each worker that answers, by name: role, device, process id, round trip, model details, costs."""
        found: dict[str, Any] = {}
        for session in self.sessions:
            reply = await session.info(INFO_TIMEOUT_SECONDS)
            if reply is not None:
                state = await session.state(INFO_TIMEOUT_SECONDS)
                found[session.name] = {
                    "role": reply.role,
                    "device": reply.device,
                    "pid": reply.pid,
                    "round_trip_seconds": session.round_trip_seconds,
                    **json.loads(reply.details),
                    **({} if state is None else state.costs()),
                }
        return found

    async def close(self) -> None:
        """End every stream; the workers drop what they did for this coordinator."""
        self._watch.cancel()
        for session in self.sessions:
            await session.close()

    # -- requests ------------------------------------------------------------------------------

    async def stream(
        self,
        prompt: str | None,
        tokens: Sequence[int],
        params: SamplingParams,
        wishes: Wishes = NO_WISHES,
    ) -> AsyncGenerator[Chunk, None]:
        """Decode one request; the last chunk of each of its outputs carries that output, finished.

        Raises:
            InputError: the prompt is empty, too long or not of this vocabulary.
            WorkerError: the target is gone for good.
        """
        words = bad_words_ids(self.tokenizer, params.bad_words)
        params = params.model_copy(update={"bad_words": (), "bad_words_ids": (*params.bad_words_ids, *words)})
        self.check(tokens, params)
        seed = params.seed if params.seed is not None else secrets.randbelow(SEED_LIMIT)
        others = params.model_copy(update={"prompt_logprobs": None})
        orders = [
            self._order(tokens, others if index else params, seed, index, wishes) for index in range(params.n)
        ]
        outputs = [self._stream_one(prompt, order) for order in orders]
        async with aclosing(merge(outputs) if params.n > 1 else outputs[0]) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _stream_one(self, prompt: str | None, order: Order) -> AsyncGenerator[Chunk, None]:
        """One of a request's outputs."""
        arrived_ns = time.monotonic_ns()
        async with self._places.hold(order.priority):
            request = self._open(order, arrived_ns)
            identity = request.order.request
            try:
                async for chunk in self._follow(request, prompt):
                    yield chunk
            finally:
                del self._live[identity]
                if self._processors is not None:
                    self._processors.pop(identity, None)
                for session in self.sessions:
                    session.abort(identity)

    def check(self, tokens: Sequence[int], params: SamplingParams) -> None:
        """Refuse what cannot be decoded.

        Raises:
            InputError: names the field and what is wrong with it.
        """
        check_request(
            tokens,
            params,
            vocabulary_size=self.facts.vocabulary_size,
            length_max=self.facts.length_max,
            rule=self.facts.rule,
            in_process=self._processors is not None,
        )

    def _order(
        self, tokens: Sequence[int], params: SamplingParams, seed: int, index: int, wishes: Wishes
    ) -> Order:
        ends = frozenset(params.stop_token_ids)
        room = self.facts.length_max - len(tokens)
        return Order(
            request=RequestId(next(self._ids)),
            tokens=tuple(tokens),
            prompt_length=len(tokens),
            length_max=len(tokens) + min(params.max_tokens or room, room),
            end_tokens=ends if params.ignore_eos else ends | self.facts.end_tokens,
            seed=seed,
            sample_index=index,
            params=params,
            speculative=wishes.speculative and wishes.num_speculative_tokens != 0,
            num_speculative_tokens=wishes.num_speculative_tokens,
            priority=wishes.priority,
            deadline_seconds=wishes.deadline_seconds,
        )

    def _open(self, order: Order, arrived_ns: int) -> LiveRequest:
        if self._failure is not None:
            raise self._failure
        request = LiveRequest(order, Ledger(order.request, order.tokens), arrived_ns)
        if self._processors is not None:
            self._processors[order.request] = order.params.logits_processors
        self._live[order.request] = request
        self.target.open(request)
        for group in self._groups if order.speculative else ():
            draft = group.open(request)
            if (absence := draft.absence()) is not None:
                request.note(f"{draft.name} {absence} at the start")
        return request

    async def _follow(self, request: LiveRequest, prompt: str | None) -> AsyncIterator[Chunk]:
        """Chunks as commits arrive, until the target or a stop string ends the request."""
        answer = Answer(self.tokenizer, request)
        while True:
            answer.add(await request.next())
            if not (answer.stopped or request.finished):
                yield answer.chunk(None)
                continue
            answer.end()
            if not request.finished:
                await self._stop(request)
            metrics = await self._measure(request, len(answer.tokens))
            yield answer.chunk(answer.output(prompt, self.facts.end_tokens, metrics))
            return

    async def _stop(self, request: LiveRequest) -> None:
        """End a request whose text is complete; the target answers with its last commit and the counts."""
        request.output_ended_ns = time.monotonic_ns()
        self.target.abort(request.order.request)
        with suppress(TimeoutError, AmusdError):
            async with asyncio.timeout(STATISTICS_SECONDS_MAX):
                while not request.finished:
                    await request.next()

    async def _measure(self, request: LiveRequest, output_length: int) -> RequestMetrics:
        traced = self._traced and len(self._live) == 1
        drafted_for = request.order.speculative and bool(self.drafts)
        target, drafts = Track("target"), list[Track]()
        if traced and drafted_for:
            target, drafts = await self.tracks(request.started_ns)
        names = self._drafter_names()
        return request_metrics(request, output_length, target, drafts, names, traced=traced)

    def _drafter_names(self) -> dict[int, str]:
        return {incarnation: draft.name for draft in self.drafts for incarnation in draft.incarnations}

    async def tracks(self, since_ns: int) -> tuple[Track, list[Track]]:
        """What the target and each drafter did since a moment of this process's monotonic clock."""
        target, *drafts = await asyncio.gather(*(session.track(since_ns) for session in self.sessions))
        return target, drafts

    # -- workers that go away ------------------------------------------------------------------

    def _fail(self, error: AmusdError) -> None:
        """The target will not come back."""
        self._failure = error
        for request in self._live.values():
            request.fail(error)

    def _retarget(self) -> None:
        """A target said welcome: it may live elsewhere than the last one."""
        for draft in self.drafts:
            draft.retarget()

    def _note_lost_draft(self, error: AmusdError) -> None:
        for request in self._live.values():
            request.note(f"a drafter is gone for good: {error}")

    async def _watch_target(self) -> None:
        """Fail what waits for a target that stays away too long."""
        away_since: float | None = None
        while True:
            await asyncio.sleep(AWAY_POLL_SECONDS)
            if self.target.connected.is_set():
                away_since = None
                continue
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > AWAY_SECONDS_MAX:
                for request in self._live.values():
                    request.fail(unreachable("the target", AWAY_SECONDS_MAX))
