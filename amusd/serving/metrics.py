"""What Prometheus is told. A metric that means what vLLM's means has vLLM's name, so that dashboards fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    exposition,
    generate_latest,
)

from amusd.outputs import RequestMetrics

if TYPE_CHECKING:
    from amusd.launchers.ray_metrics import RayMetrics

CONTENT_TYPE: Final = exposition.CONTENT_TYPE_LATEST
_SECONDS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
)
_MODEL: Final = "model_name"


@dataclass(slots=True)
class Totals:
    """What happened since somebody last asked."""

    prompt_tokens: int = 0
    output_tokens: int = 0
    finished: int = 0
    passes: int = 0
    committed: int = 0
    verified: int = 0
    accepted: int = 0


class ServerMetrics:
    """The counters of one server, in a registry of their own.

    Args:
        model: the name that clients call it by; the label of every metric.
        vllm_names: whether metrics that vLLM has too begin with `vllm:` instead of `amusd:`.
    """

    def __init__(self, model: str, *, vllm_names: bool = True) -> None:
        self._totals = Totals()
        self._registry = CollectorRegistry()
        self._model = model
        self._shared = "vllm" if vllm_names else "amusd"
        ProcessCollector(registry=self._registry)

        self.running = self._gauge("num_requests_running", "Requests that are being decoded.")
        self.waiting = self._gauge("num_requests_waiting", "Requests that wait for a place.")
        self._prompt_tokens = self._counter("prompt_tokens", "Tokens of prompts that were taken.")
        self._output_tokens = self._counter("generation_tokens", "Tokens that were delivered.")
        self._finished = self._counter(
            "request_success", "Requests that ended by themselves.", "finished_reason"
        )
        self._first_token = self._histogram("time_to_first_token_seconds", "From arrival to the first token.")
        self._between = self._histogram("inter_token_latency_seconds", "Between two tokens of a request.")
        self._whole = self._histogram("e2e_request_latency_seconds", "From arrival to the last token.")
        self._queued = self._histogram("request_queue_time_seconds", "From arrival to a place.")
        self._preemptions = self._counter("num_preemptions", "Requests set aside because cells ran out.")
        spec = "spec_decode_num_"
        self._drafts = self._counter(spec + "drafts", "Passes of a request that verified drafts.")
        self._draft_tokens = self._counter(spec + "draft_tokens", "Draft tokens that were verified.")
        self._accepted = self._counter(spec + "accepted_tokens", "Verified draft tokens that were committed.")
        self._accepted_at = self._counter(
            spec + "accepted_tokens_per_pos",
            "Accepted draft tokens by their depth.",
            "position",
        )

        self._refused = self._counter("requests_refused", "Requests refused, by reason.", "reason", own=True)
        self._ended = self._counter("requests_aborted", "Requests that nobody waited for.", own=True)
        self._counts = {
            name: self._counter(name, help, own=True)
            for name, help in (
                ("passes", "Passes of the target, for each request in them."),
                ("rollbacks", "Commits that left the tree."),
                ("corrections", "Passes whose own token contradicted a verified node."),
                ("foreseen_corrections", "Corrections that a branch already held."),
                ("drafted", "Nodes that drafters sent."),
                ("stale_nodes", "Nodes that were stale when they arrived."),
                ("dropped_nodes", "Nodes that a commit dropped, verified or not."),
            )
        }
        self._overlap = self._gauge("overlap_ratio", "Time in which both sides computed over time.", own=True)
        self._useful_overlap = self._gauge(
            "useful_overlap_ratio", "The part of it spent on drafts that were committed.", own=True
        )
        self._round_trip = self._labelled_gauge("link_round_trip_seconds", "To a worker and back.", "worker")
        self._window_use = self._labelled_gauge("window_use_ratio", "Live nodes over the window.", "worker")
        self._pass_seconds = self._labelled_gauge(
            "pass_seconds", "A pass of the target as learned so far, by requests and rows of each.", "shape"
        )
        self._step_seconds = self._labelled_gauge(
            "draft_step_seconds",
            "A step of a drafter as learned so far, by requests and nodes of each.",
            "worker",
            "shape",
        )
        self._draft_wait = self._labelled_gauge(
            "draft_wait_seconds",
            "Until a drafted node came, links included, by what it was awaited after: a commit or a node.",
            "after",
        )
        self._node_price = self._gauge(
            "node_price", "The chance from which on a node pays for a row about the last pass's.", own=True
        )

    def render(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return bytes(generate_latest(self._registry))

    def repeat(self, to: "RayMetrics") -> None:
        """Tell Ray every gauge and counter; histograms stay here, for what they saw is not kept."""
        for family in self._registry.collect():
            for sample in family.samples:
                if family.type == "gauge":
                    to.gauge(sample.name, family.documentation, sample.labels, sample.value)
                elif family.type == "counter":
                    to.counter(sample.name, family.documentation, sample.labels, sample.value)

    def take_totals(self) -> Totals:
        """The counts since the last call."""
        totals, self._totals = self._totals, Totals()
        return totals

    # -- what happens ---------------------------------------------------------------------------

    def on_admitted(self, prompt_tokens: int) -> None:
        """A request was taken."""
        self._totals.prompt_tokens += prompt_tokens
        self._prompt_tokens.labels(self._model).inc(prompt_tokens)

    def on_refused(self, reason: str) -> None:
        """A request was not taken."""
        self._refused.labels(self._model, reason).inc()

    def on_first_token(self, seconds: float) -> None:
        """A request's first token, so long after its arrival."""
        self._first_token.labels(self._model).observe(seconds)

    def on_tokens(self, count: int, seconds_each: float | None) -> None:
        """Tokens were delivered together; None for the first of a request, which nothing came before."""
        self._totals.output_tokens += count
        self._output_tokens.labels(self._model).inc(count)
        if seconds_each is not None:
            latency = self._between.labels(self._model)
            for _ in range(count):
                latency.observe(seconds_each)

    def on_finished(self, reason: str, seconds: float, metrics: RequestMetrics) -> None:
        """A request ended by itself."""
        totals = self._totals
        totals.finished += 1
        totals.passes += metrics.passes
        totals.committed += round(metrics.mean_acceptance_length * metrics.passes)
        totals.verified += metrics.verified
        totals.accepted += metrics.accepted
        self._finished.labels(self._model, reason).inc()
        self._whole.labels(self._model).observe(seconds)
        self._queued.labels(self._model).observe(metrics.queue_seconds)
        self._preemptions.labels(self._model).inc(metrics.preemptions)
        self._drafts.labels(self._model).inc(_first(metrics.depth_verified))
        self._draft_tokens.labels(self._model).inc(metrics.verified)
        self._accepted.labels(self._model).inc(metrics.accepted)
        for position, count in enumerate(metrics.depth_accepted):
            if count:
                self._accepted_at.labels(self._model, str(position)).inc(count)
        for name, counter in self._counts.items():
            counter.labels(self._model).inc(getattr(metrics, name))

    def on_aborted(self) -> None:
        """A request was ended before it was done."""
        self._ended.labels(self._model).inc()

    def on_overlap(self, both: float, useful: float) -> None:
        """Shares of the last period."""
        self._overlap.set(both)
        self._useful_overlap.set(useful)

    def on_links(self, round_trips: Mapping[str, float], window_use: Mapping[str, float]) -> None:
        """The state of the links, by worker."""
        for worker, seconds in round_trips.items():
            self._round_trip.labels(self._model, worker).set(seconds)
        for worker, share in window_use.items():
            self._window_use.labels(self._model, worker).set(share)

    def on_passes(self, seconds: Mapping[str, float], price: float, waits: Mapping[str, float]) -> None:
        """What the target has learned: of passes, by shape, of what a node in one is worth, and of waits."""
        for shape, each in seconds.items():
            self._pass_seconds.labels(self._model, shape).set(each)
        for after, each in waits.items():
            self._draft_wait.labels(self._model, after).set(each)
        self._node_price.set(price)

    def on_steps(self, seconds: Mapping[str, Mapping[str, float]]) -> None:
        """What drafters have learned of their steps, by worker and shape."""
        for worker, shapes in seconds.items():
            for shape, each in shapes.items():
                self._step_seconds.labels(self._model, worker, shape).set(each)

    # -- making them ----------------------------------------------------------------------------

    def _name(self, name: str, own: bool) -> str:
        return f"{'amusd' if own else self._shared}:{name}"

    def _counter(self, name: str, help: str, *labels: str, own: bool = False) -> Counter:
        return Counter(self._name(name, own), help, (_MODEL, *labels), registry=self._registry)

    def _gauge(self, name: str, help: str, own: bool = False) -> Gauge:
        family = Gauge(self._name(name, own), help, (_MODEL,), registry=self._registry)
        return family.labels(self._model)

    def _labelled_gauge(self, name: str, help: str, *labels: str) -> Gauge:
        return Gauge(self._name(name, True), help, (_MODEL, *labels), registry=self._registry)

    def _histogram(self, name: str, help: str) -> Histogram:
        return Histogram(self._name(name, False), help, (_MODEL,), buckets=_SECONDS, registry=self._registry)


def _first(counts: Sequence[int]) -> int:
    return counts[0] if counts else 0
