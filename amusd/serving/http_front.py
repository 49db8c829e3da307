"""The HTTP side of a server: what of OpenAI's interface a text model needs, and vLLM's tokenizing."""

import secrets
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse

from amusd import __version__
from amusd.errors import AmusdError, InputError, UnavailableError
from amusd.outputs import RequestOutput
from amusd.params import SamplingParams
from amusd.serving.answers import Answers, ChatAnswers, CompletionAnswers, token_counts
from amusd.serving.bodies import read_json
from amusd.serving.description import described, failures
from amusd.serving.desk import FrontDesk, Job
from amusd.serving.failures import (
    STATUS_DESCRIPTIONS,
    Json,
    TooLargeError,
    UnknownModelError,
    answer_failure,
)
from amusd.serving.grpc_front import check_key
from amusd.serving.intake import Intake
from amusd.serving.metrics import CONTENT_TYPE
from amusd.serving.requests import (
    ChatBody,
    CompletionBody,
    DetokenizeBody,
    StreamOptions,
    TokenizeBody,
    read_body,
    read_plain_body,
)
from amusd.serving.streams import CLIENT_LEFT_STATUS, ClientLeft, EventStream, while_connected

BODY_BYTES_MAX: Final = 8 << 20
TIMELINE_SECONDS: Final = 2.0
TREE_NODES_MAX: Final = 24
PAGE: Final = Path(__file__).parent / "page.html"


@dataclass(frozen=True, slots=True)
class HttpFront:
    """The routes.

    Args:
        model: as clients call it.
        keys: of which a client must send one; none lets everybody in.
        describe: tells about the server, as JSON.
    """

    desk: FrontDesk
    intake: Intake
    model: str
    keys: Sequence[str]
    created: int

    def app(self) -> FastAPI:
        """The application."""
        app = FastAPI(
            title="amusd",
            version=__version__,
            description="Text of a target model, written sooner. Errors have the form of OpenAI's.",
            default_response_class=Json,
            redoc_url=None,
        )
        for kind in (Exception, AmusdError, HTTPException):
            app.add_exception_handler(kind, answer_failure)
        app.add_exception_handler(ClientLeft, _answer_left)
        app.include_router(self._open_routes())
        app.include_router(self._guarded_routes())
        return app

    def _open_routes(self) -> APIRouter:
        router = APIRouter(tags=["watching"])
        router.add_api_route("/", self.page, response_class=HTMLResponse, include_in_schema=False)
        router.add_api_route("/health", self.health, responses=failures(503))
        router.add_api_route("/metrics", self.metrics, response_class=Response)
        return router

    def _guarded_routes(self) -> APIRouter:
        router = APIRouter(dependencies=[Depends(self._check_key)], tags=["models"])
        router.add_api_route("/v1/models", self.models, responses=failures(401))
        router.add_api_route("/v1/models/{model:path}", self.one_model, responses=failures(401, 404))
        router.add_api_route("/v1/timeline", self.timeline, responses=failures(401, 503))
        refusals = failures(*STATUS_DESCRIPTIONS)
        posts: Sequence[tuple[str, Callable[[Request], Awaitable[Response]], type[Any]]] = (
            ("/v1/completions", self.completions, CompletionBody),
            ("/v1/chat/completions", self.chat, ChatBody),
            ("/tokenize", self.tokenize, TokenizeBody),
            ("/detokenize", self.detokenize, DetokenizeBody),
        )
        for path, endpoint, body in posts:
            router.add_api_route(
                path,
                endpoint,
                methods=["POST"],
                responses=refusals,
                openapi_extra={"requestBody": described(body)},
            )
        return router

    async def _check_key(self, request: Request) -> None:
        check_key(request.headers.get("authorization"), self.keys)

    # -- watching -------------------------------------------------------------------------------

    async def health(self) -> Response:
        """200 once a first token was decoded, 503 before, while draining, and after the engine failed."""
        try:
            _ = self.desk.coordinator
        except UnavailableError as error:
            return Json({"status": self.desk.phase, "reason": str(error)}, 503)
        return Json({"status": self.desk.phase})

    async def metrics(self) -> Response:
        """Everything that is counted, in Prometheus' text format."""
        self.desk.metrics.running.set(self.desk.running)
        self.desk.metrics.waiting.set(self.desk.waiting)
        return Response(self.desk.metrics.render(), media_type=CONTENT_TYPE)

    async def page(self) -> Response:
        """A page to try it on."""
        return HTMLResponse(PAGE.read_text(encoding="utf-8"))

    async def timeline(self) -> Response:
        """What each device did in the last seconds, in seconds before now, and the trees of the moment."""
        now_ns = time.monotonic_ns()
        since_ns = now_ns - int(TIMELINE_SECONDS * 1e9)
        target, drafters = await self.desk.coordinator.tracks(since_ns)
        tracks = [
            {
                "name": track.name,
                "slices": [
                    [
                        event.name,
                        (max(event.start_ns, since_ns) - now_ns) / 1e9,
                        (event.end_ns - now_ns) / 1e9,
                    ]
                    for event in track.events
                    if event.end_ns > event.start_ns
                ],
            }
            for track in (target, *drafters)
        ]
        trees = [
            {
                "text": self.intake.decode([tree.token]),
                "guesses": [
                    [self.intake.decode([guess.token]), guess.parent, guess.reach] for guess in tree.guesses
                ],
            }
            for tree in await self.desk.coordinator.trees(TREE_NODES_MAX)
        ]
        return Json({"seconds": TIMELINE_SECONDS, "tracks": tracks, "trees": trees})

    async def models(self) -> Response:
        """The one model that is served."""
        return Json({"object": "list", "data": [self._model_card()]})

    async def one_model(self, model: str) -> Response:
        """The model by its name."""
        self._check_model(model)
        return Json(self._model_card())

    # -- decoding -------------------------------------------------------------------------------

    async def completions(self, request: Request) -> Response:
        """Continue one prompt or several."""
        body, params, wishes = read_body(CompletionBody, await _read(request))
        self._check_model(body.model)
        jobs = []
        for prompt in _prompts(body.prompt):
            text, tokens = await self.intake.read(prompt)
            jobs.append(Job(text, tokens, params, wishes))
        echoed = tuple(self._text(job) for job in jobs) if body.echo else ()
        if body.echo and params.logprobs is not None:
            raise InputError("echo", True, "logprobs are those of the output: ask for prompt_logprobs too")
        if body.spans and not body.stream:
            raise InputError("spans", True, "only the pieces of a stream have them: set stream too")
        answers = CompletionAnswers(
            identity=_identity(request),
            model=self.model,
            num_speculative_tokens=self._speculative_tokens,
            n=params.n,
            echoed=echoed,
            spans=body.spans is True,
        )
        return await self._answer(request, answers, jobs, body)

    async def chat(self, request: Request) -> Response:
        """Answer a conversation."""
        values = await _read(request)
        body, params, wishes = read_body(ChatBody, values)
        self._check_model(body.model)
        messages = [message.to_dict() for message in body.messages]
        tokens = await self.intake.read_messages(messages)
        params = _with_chat_settings(params, body, values)
        answers = ChatAnswers(
            _identity(request), self.model, self._speculative_tokens, params.n, params.logprobs or 0
        )
        return await self._answer(request, answers, [Job(None, tokens, params, wishes)], body)

    async def _answer(
        self, request: Request, answers: Answers, jobs: list[Job], body: CompletionBody | ChatBody
    ) -> Response:
        identity, options = answers.identity, body.stream_options
        if options is not None and not body.stream:
            raise InputError("stream_options", "(given)", "only a stream has options: set stream too")
        if body.stream and jobs[0].params.prompt_logprobs is not None:
            raise InputError("prompt_logprobs", "(given)", "a stream does not carry them: leave stream out")
        headers = {"X-Request-Id": identity}
        if not body.stream:
            outputs = await while_connected(request, self._decode(jobs, identity, body.user))
            return Json(answers.whole(outputs), headers=headers)
        events = self._stream(answers, jobs, body.user, options or StreamOptions())
        # The first event is awaited here, so that a refusal still has its own status.
        begun = await while_connected(request, _first(events))
        response = EventStream(begun, events)
        response.headers.update(headers)
        return response

    async def _decode(self, jobs: list[Job], identity: str, user: str | None) -> list[RequestOutput]:
        outputs: dict[tuple[int, int], RequestOutput] = {}
        async with self.desk.admit(jobs, identity, user) as admitted:
            async for prompt, chunk in admitted.events():
                if chunk.finished is not None:
                    outputs[prompt, chunk.index] = chunk.finished
        return [outputs[place] for place in sorted(outputs)]

    async def _stream(
        self, answers: Answers, jobs: list[Job], user: str | None, options: StreamOptions
    ) -> AsyncGenerator[dict[str, Any], None]:
        outputs: dict[tuple[int, int], RequestOutput] = {}
        written: Counter[tuple[int, int]] = Counter()  # tokens of each output
        async with self.desk.admit(jobs, answers.identity, user) as admitted:
            begun = False
            async for prompt, chunk in admitted.events():
                if not begun:
                    begun = True
                    for event in answers.first():
                        yield event
                if chunk.finished is not None:
                    outputs[prompt, chunk.index] = chunk.finished
                written[prompt, chunk.index] += len(chunk.token_ids)
                if chunk.text or chunk.logprobs or chunk.finished is not None:
                    piece = answers.piece(prompt, chunk)
                    if options.include_usage and options.continuous_usage_stats:
                        piece["usage"] = token_counts(len(jobs[prompt].tokens), written[prompt, chunk.index])
                    yield piece
        if options.include_usage:
            yield answers.last([outputs[place] for place in sorted(outputs)])

    # -- tokenizing -----------------------------------------------------------------------------

    async def tokenize(self, request: Request) -> Response:
        """Token ids of text, or of a conversation in the chat template."""
        body = read_plain_body(TokenizeBody, await _read(request))
        self._check_model(body.model)
        if (body.prompt is None) == (body.messages is None):
            raise InputError("prompt", "(not given)", "give either prompt or messages")
        if body.messages is not None:
            tokens = await self.intake.read_messages([message.to_dict() for message in body.messages])
        else:
            _, tokens = await self.intake.read(body.prompt or "")
        length_max = self.intake.reader.length_max
        return Json({"count": len(tokens), "max_model_len": length_max, "tokens": tokens})

    async def detokenize(self, request: Request) -> Response:
        """The text of token ids."""
        body = read_plain_body(DetokenizeBody, await _read(request))
        self._check_model(body.model)
        return Json({"prompt": self.intake.decode(body.tokens)})

    # -- inside ---------------------------------------------------------------------------------

    @property
    def _speculative_tokens(self) -> int:
        return self.intake.reader.config.num_speculative_tokens

    def _check_model(self, model: str | None) -> None:
        if model is not None and model != self.model:
            raise UnknownModelError("model", model[:120], f"this server has {self.model}")

    def _model_card(self) -> dict[str, Any]:
        return {
            "id": self.model,
            "object": "model",
            "created": self.created,
            "owned_by": "amusd",
            "max_model_len": self.intake.reader.length_max,
        }

    def _text(self, job: Job) -> str:
        return job.prompt if job.prompt is not None else self.intake.decode(job.tokens)


async def _answer_left(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_LEFT_STATUS)


async def _read(request: Request) -> Any:
    """The body's JSON, of which no more is read than may be."""
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise TooLargeError("body", f"more than {BODY_BYTES_MAX} bytes", "send less")
    return read_json(b"".join(parts), "body")


async def _first(events: AsyncGenerator[dict[str, Any], None]) -> list[dict[str, Any]]:
    return [await anext(events)]


def _identity(request: Request) -> str:
    """The client's name for a request, or a new one."""
    return request.headers.get("x-request-id") or secrets.token_hex(12)


def _prompts(given: str | list[Any]) -> list[Any]:
    """One prompt or several, each text or token ids."""
    if isinstance(given, str) or not given or isinstance(given[0], int):
        return [given]
    return given


def _with_chat_settings(params: SamplingParams, body: ChatBody, values: Mapping[str, Any]) -> SamplingParams:
    """What a chat says in its own words: how long the answer may be, and which log-probabilities it wants."""
    wanted, length = values.get("max_tokens"), body.max_completion_tokens
    if wanted is not None and length is not None and wanted != length:
        raise InputError("max_tokens", wanted, f"max_completion_tokens is {length}: give one of the two")
    if body.top_logprobs and not body.logprobs:
        raise InputError("top_logprobs", body.top_logprobs, "needs logprobs to be true")
    settings = params.to_dict()
    settings["max_tokens"] = length if wanted is None else wanted  # None is as many as there is room for
    if body.logprobs:
        settings["logprobs"] = body.top_logprobs or 0
    return SamplingParams.from_dict(settings)
