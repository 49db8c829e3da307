"""The target's engine: passes over the live requests, and the commit log that they write.

One turn: take what arrived, give cells to who is next or take them from who is last, prefill a chunk of a
prompt if there is one, decide whether a pass is worth starting now or some drafts are worth a bounded wait,
run it, commit, and hand every ready stream what is newest.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, assert_never

from amusd.errors import AmusdError, InputError, ProtocolError
from amusd.orders import Order
from amusd.policies import choices
from amusd.policies.calibration import Records
from amusd.policies.choices import Choice, Verify
from amusd.policies.leading import PriceNews
from amusd.policies.prefilling import PrefillPace
from amusd.policies.urgency import Urgency
from amusd.policies.verifying import VerifyPolicy
from amusd.rpc.v1 import common_pb2, target_pb2
from amusd.speculation.messages import Commit, DrafterId, Draws, Have, Hello, Propose, RequestId
from amusd.speculation.target import TargetEndpoint
from amusd.tracing import Recorder
from amusd.transport.codec import encode_commits, encode_logprobs, encode_map, encode_target
from amusd.workers.engine import Costs, Engine
from amusd.workers.events import Aborted, CoordinatorJoined, CoordinatorLeft, LinkReady, Opened
from amusd.workers.logprob_feed import LogprobFeed
from amusd.workers.room import Room
from amusd.workers.target_events import (
    ControlLink,
    DrafterJoined,
    DrafterLeft,
    DrafterLink,
    DrafterSaid,
    FeedGap,
    TargetInput,
)

if TYPE_CHECKING:
    from amusd.workers.lookups import Lookups
    from amusd.workers.verifier import Verifier


class TargetEngine(Engine[TargetInput]):
    """Owns the target's endpoint and its verifier.

    Args:
        build: loads the model; called on the engine's thread, after it was pinned.
        policy: how many nodes of each request a pass takes, and how long it may wait for more.
        verify: which nodes these are.
        prefill_stall_seconds: how long a chunk of a prompt may keep a pass waiting.
    """

    def __init__(
        self,
        build: Callable[[], tuple["Verifier", TargetEndpoint, "Lookups"]],
        policy: VerifyPolicy,
        verify: Verify,
        recorder: Recorder,
        cores: tuple[int, ...],
        prefill_stall_seconds: float,
    ) -> None:
        super().__init__("amusd-target", cores)
        self._prefill_stall_seconds = prefill_stall_seconds
        self._build = build
        self._policy = policy
        self._verify = verify
        self._recorder = recorder
        self._control: ControlLink | None = None
        self._drafters: dict[DrafterId, DrafterLink] = {}
        self._incarnations: dict[DrafterId, int] = {}
        self._prefilling: list[RequestId] = []
        self._decoding: list[RequestId] = []
        self._waited = 0.0  # seconds since the last pass that chunks of prompts took from whoever decodes
        self._until = 0.0  # when a pass that was worth delaying starts at the latest; past where none is
        self._refused: list[target_pb2.TargetEvent] = []
        self._unguessed: list[RequestId] = []  # whose log grew since the lookups guessed
        self._records = Records()
        self._price_news = PriceNews()
        self._urgency = Urgency()
        self._logprobs = LogprobFeed()
        self._choices: dict[RequestId, Choice] = {}  # those that no event or pass has changed since
        self._reaches: dict[RequestId, Sequence[float]] | None = None  # of all choices, while none has

    def load(self) -> None:
        """Load the model and open the log."""
        self.verifier, self.endpoint, self._lookups = self._build()
        for drafter in self._lookups.drafters:
            self._records.attach(drafter)
        self._policy.costs = self.verifier.costs
        self._room = Room(self.verifier.can_hold, rows_max=1 + self._policy.nodes_max)
        self._pace = PrefillPace(self._prefill_stall_seconds, self.verifier.chunk_seconds)

    # -- events --------------------------------------------------------------------------------

    def on_event(self, event: TargetInput) -> None:
        """Take one event; a peer that broke the protocol loses its stream, nobody else anything."""
        if not isinstance(event, DrafterSaid | LinkReady):
            self._choose_anew()
        match event:
            case CoordinatorJoined(link):
                self._drop_coordinator(ProtocolError("another coordinator took over this worker"))
                self._control = link
                welcome = common_pb2.Welcome(incarnation=self.endpoint.incarnation)
                link.send([target_pb2.TargetEvent(welcome=welcome)])
            case CoordinatorLeft(link):
                if self._control is link:
                    self._drop_coordinator()
            case Opened(link, order):
                if self._control is link:
                    self._open(order)
            case Aborted(request):
                self.endpoint.on_abort(request)
                self._forget(request)
            case FeedGap(have):
                self._rewind_feed(have)
            case DrafterJoined(drafter, stream, hello):
                self._attach(drafter, stream, hello)
            case DrafterLeft(drafter):
                self._detach(drafter, None)
            case DrafterSaid(drafter, message, at):
                self._hear(drafter, message, at)
            case LinkReady():
                pass
            case _:
                assert_never(event)

    def _open(self, order: Order) -> None:
        request = order.request
        try:
            wants_prefill = self.endpoint.on_open(
                request,
                order.tokens,
                order.prompt_length,
                order.length_max,
                order.end_tokens,
                speculative=order.speculative,
                num_speculative_tokens=order.num_speculative_tokens,
            )
            if wants_prefill:
                self._room.enter(request, order.priority, order.length_max)
                try:
                    self.verifier.open(order)
                except InputError:
                    self._room.leave(request)
                    raise
                self._lookups.open(request)
                self._records.open(request, self._lookups.drafters)
                if order.deadline_seconds is not None:
                    deadline = self.now() + order.deadline_seconds
                    self._urgency.open(request, deadline, len(order.tokens), order.length_max)
        except ProtocolError as error:
            self._drop_coordinator(error)
        except InputError as error:
            self._refuse(request, error)

    def _refuse(self, request: RequestId, error: InputError) -> None:
        self.endpoint.on_drop(request)
        self._logprobs.forget(request)
        refused = common_pb2.Refused(
            request=request, field=error.field, value=str(error.value), remedy=error.remedy
        )
        self._refused.append(target_pb2.TargetEvent(refused=refused))

    def _rewind_feed(self, have: Have) -> None:
        try:
            self.endpoint.on_feed_have(have)
        except ProtocolError as error:
            self._drop_coordinator(error)

    def _forget(self, request: RequestId) -> None:
        """Free what the request held here; its log is the endpoint's."""
        if request in self._room.requests:
            self._room.leave(request)
            self._set_down(request)
            self.verifier.close(request)
            self._lookups.close(request)
            self._records.close(request)
        if request in self._unguessed:
            self._unguessed.remove(request)
        self._policy.forget(request)
        self._urgency.close(request)

    def _set_down(self, request: RequestId) -> None:
        """Neither prefill nor decode a request, whichever it was."""
        for members in (self._prefilling, self._decoding):
            if request in members:
                members.remove(request)

    def _drop_coordinator(self, reason: ProtocolError | None = None) -> None:
        if self._control is not None:
            self._control.close(reason)
            self._control = None
            self._logprobs.clear()
        for request in self._room.requests:
            self.endpoint.on_drop(request)
            self._forget(request)

    def _attach(self, drafter: DrafterId, link: DrafterLink, hello: Hello) -> None:
        try:
            replaced = self.endpoint.on_attach(drafter, hello)
        except ProtocolError as error:
            link.close(error)
            return
        if replaced is not None:
            self._detach(replaced, ProtocolError("the same drafter attached again on a newer stream"))
        self._drafters[drafter] = link
        self._incarnations[drafter] = hello.incarnation
        self._records.attach(drafter)
        self._recorder.mark("drafter attached", drafter=drafter)

    def _detach(self, drafter: DrafterId, reason: AmusdError | None) -> None:
        link = self._drafters.pop(drafter, None)
        if link is not None:
            del self._incarnations[drafter]
            self._records.detach(drafter)
            self._price_news.forget(drafter)
            link.close(reason)
            self.endpoint.on_detach(drafter)
            self._choose_anew()
            self._recorder.mark("drafter detached", drafter=drafter)

    def _hear(self, drafter: DrafterId, message: Propose | Have, at: float) -> None:
        if drafter not in self._drafters:
            return  # sent before its stream was closed
        try:
            if isinstance(message, Have):
                self.endpoint.on_have(drafter, message)
            else:
                for draws in message.draws.values():
                    self.verifier.check(draws)
                if self.endpoint.on_propose(drafter, message).live:
                    self._choose_anew(message.request)
                    self._policy.on_proposal(message.request, drafter, at)
        except ProtocolError as error:
            self._detach(drafter, error)

    # -- passes --------------------------------------------------------------------------------

    def wait_seconds(self) -> float | None:
        """Not at all with work to do; where the last turn found drafts worth a wait, until that runs out.

        So it is decided after what has arrived was taken, and once.
        """
        if self._prefilling or self._waited or not self._room.settled:
            return 0.0
        if not self._decoding:
            return None
        return max(0.0, self._until - self.now())

    def _deadline(self) -> float:
        """When the next pass starts at the latest: as soon as every request's drafts are in."""
        chosen, reaches = self._choose()
        prospect = self._records.prospect(self.endpoint.drafting())
        drafted = None
        if prospect and self._lookups.drafters:
            drafted = {
                request: choices.count_drafted(self.endpoint.tree(request), choice, self._drafters)
                for request, choice in chosen.items()
            }
        rooms = {request: self.endpoint.room(request) for request in self._decoding}
        return self._policy.deadline(reaches, rooms, prospect=prospect, now=self.now(), drafted=drafted)

    def _choose(self) -> tuple[dict[RequestId, Choice], dict[RequestId, Sequence[float]]]:
        """What a pass could verify of each request now, in the order of taking it, and its reaches."""
        if self._reaches is None:
            choose, count = choices.CHOOSERS[self._verify], self._policy.nodes_max
            for request in self._decoding:
                if request not in self._choices:
                    self._choices[request] = choose(
                        self.endpoint.tree(request),
                        min(count, self.endpoint.room(request)),
                        partial(self._records.estimate, request),
                        self._policy.price,
                    )
            self._reaches = {request: self._choices[request].reaches for request in self._decoding}
        return {request: self._choices[request] for request in self._decoding}, self._reaches

    def _choose_anew(self, request: RequestId | None = None) -> None:
        """What was chosen for a request, or for all, holds no longer."""
        self._reaches = None
        if request is None:
            self._choices.clear()
        else:
            self._choices.pop(request, None)

    def work(self) -> None:
        """Prefill a chunk, or run a pass when it is time; then hand out what is newest.

        One or the other, so that a pass after a chunk verifies what drafters sent meanwhile.
        """
        self._settle_room()
        self._until = 0.0
        if (rows := self._chunk()) is not None:
            self._prefill(rows)
        elif self._decoding:
            if not self._waited:
                self._until = self._deadline()
            if self._until <= self.now():
                self._waited = 0.0
                self._pass()
        self._publish()
        self._look_up()

    def _chunk(self) -> int | None:
        """How many rows of the next prompt are read now; None where a pass goes first, or there is none."""
        if not self._decoding:
            self._waited = 0.0
        if not self._prefilling:
            return None
        left = self.verifier.unwritten(self._prefilling[0])
        return self._pace.rows(
            len(left), self.verifier.attended(left.start), self._waited if self._decoding else None
        )

    def _settle_room(self) -> None:
        """Cells for the next pass, the last in order going without; they go on from their logs later."""
        aside, admitted = self._room.settle(lambda request: self.endpoint.log(request).length)
        for request in aside:
            self._set_down(request)
            self.verifier.free_cells(request)
            self.endpoint.stats(request).preemptions += 1
            self._recorder.mark("set aside", request=request, length=self.endpoint.log(request).length)
        for request in admitted:
            self.verifier.take_cells(request)
            self._policy.forget(request)  # its paces: drafts that came while it was aside were not awaited
            self._prefilling.append(request)
        if aside or admitted:
            self._prefilling.sort(key=self._room.place)
            self._choose_anew()

    def _look_up(self) -> None:
        """The lookups guess where logs grew, after everybody was told of it."""
        for request in self._unguessed:
            chance = partial(self._records.chance, request)
            self._lookups.guess(self.endpoint, request, self._policy.nodes_max, self._policy.price, chance)
            self._choose_anew(request)
        self._unguessed.clear()

    def _prefill(self, rows: int) -> None:
        request = self._prefilling[0]
        cells = self.verifier.attended(self.verifier.unwritten(request).start)
        started_ns, started = self._recorder.now_ns(), self.now()
        self._logprobs.add_prompt(request, *self.verifier.prefill(request, rows))
        seconds = self.now() - started
        self._pace.observe(rows, cells, seconds)
        if self._decoding:
            self._waited += seconds
        self._recorder.record("prefill", started_ns, request=request, rows=rows)
        self._lookups.read(request, self.endpoint.log(request).tokens)
        if not self.verifier.unwritten(request):
            self._prefilling.remove(request)
            self._decoding.append(request)
            self._unguessed.append(request)
            self._look_up()

    def _pass(self) -> None:
        self._lengthen()
        chosen, reaches = self._choose()
        widths = self._policy.widths(reaches, self._urgency.weights(self.now()))
        chosen = {request: choice.first(widths[request]) for request, choice in chosen.items()}
        aliases = [
            (self._incarnations[drafter], request, node)
            for request, choice in chosen.items()
            for member in choice.nodes
            for drafter, node in member.aliases
            if drafter in self._incarnations
        ]
        attended = self.verifier.attended(max(self.endpoint.log(request).length for request in chosen))
        started_ns, started = self._recorder.now_ns(), self.now()
        winners = self.verifier.verify(chosen, self._drawn(chosen), apart=self._verify == "rows")
        ended = self.now()
        verified = {request: len(choice.nodes) for request, choice in chosen.items()}
        accepted = {}
        self._recorder.record(
            "pass", started_ns, requests=len(chosen), verified=sum(verified.values()), aliases=aliases
        )
        for (request, choice), row_winners in zip(chosen.items(), winners, strict=True):
            if (failure := self.verifier.failures.get(request)) is not None:
                accepted[request] = 0
                self._refuse(request, failure)
                self._forget(request)
                continue
            accepted[request] = self._commit(request, choice, row_winners)
            self._urgency.on_pass(request, self.endpoint.log(request).length, ended)
        self._choose_anew()
        self._policy.on_pass(verified, accepted, ended)
        for request in chosen.keys() - self._decoding:
            self._policy.forget(request)  # what the pass that ended it taught
        self._learn_costs([1 + count for count in verified.values()], ended - started, attended)

    def _learn_costs(self, widths: list[int], seconds: float, attended: int) -> None:
        costs = self.verifier.costs
        costs.observe(costs.rows(widths), len(widths), seconds, attended, max(widths))
        if self.verifier.cost_file is not None:
            self.verifier.cost_file.write_if_due(self.now())

    def finish(self) -> None:
        """Keep what passes cost for the next life."""
        if self.verifier.cost_file is not None:
            self.verifier.cost_file.write()

    def _lengthen(self) -> None:
        """Phrases after the last nodes of the choices, where there is room."""
        if self._verify == "chain" and self._lookups.can_lengthen:
            for request, choice in self._choose()[0].items():
                if self._lookups.lengthen(self.endpoint, request, choice.nodes, self._policy.nodes_max):
                    self._choose_anew(request)

    def _drawn(self, chosen: Mapping[RequestId, Choice]) -> dict[RequestId, list[Draws | None]]:
        """What was drawn below the root and each chosen node, whichever of it is verified."""
        if not self.verifier.rule.needs_q:
            return {}
        return {
            request: [node.draws for node in (self.endpoint.tree(request).root, *choice.nodes)]
            for request, choice in chosen.items()
        }

    def _commit(self, request: RequestId, choice: Choice, winners: Sequence[int]) -> int:
        """Commit what a pass found for one request; returns how many drafted tokens were accepted."""
        start = self.endpoint.log(request).length
        result = self.endpoint.on_verified(request, choice.nodes, choice.parents, winners)
        assert result is not None, "nothing ends a request while its engine runs the pass"
        if result.rolled_back:
            self._recorder.mark("rollback", request=request, length=self.endpoint.log(request).length)
        for guess in result.guesses:
            self._records.observe(request, guess)
        self._lookups.learn(request, result.guesses)
        self._lookups.reject(request, choice, result.accepted_rows)
        logprobs = self.verifier.logprobs(request, result.accepted_rows, result.emitted)
        self._logprobs.add_output(request, start, logprobs)
        accepted = len(result.accepted_rows)
        in_place = range(1, accepted + 1) if self._verify == "rows" else result.accepted_rows
        self.verifier.keep(request, in_place, result.emitted)
        if result.final is None:
            self._unguessed.append(request)
        else:
            self._forget(request)
        return accepted

    def trees(self, nodes_max: int) -> list[target_pb2.Tree]:
        """The likeliest nodes of each request that is decoded."""
        found = []
        for request in self._decoding:
            tree = self.endpoint.tree(request)
            nodes = tree.best_nodes(nodes_max)
            place = {id(node): index for index, node in enumerate((tree.root, *nodes))}
            guesses = [
                target_pb2.Guess(token=node.token, parent=place[id(node.parent)], reach=tree.reach(node))
                for node in nodes
            ]
            found.append(target_pb2.Tree(request=request, token=tree.root.token, guesses=guesses))
        return found

    def occupancy(self) -> dict[str, int]:
        """Open requests, those with cells and those that wait for some, and live nodes of all trees."""
        return {
            "requests": len(self.endpoint.requests()),
            "slots": self.verifier.slots_used,
            "waiting": self._room.waiting,
            "nodes": sum(self.endpoint.tree(request).count for request in self.endpoint.requests()),
        }

    def costs(self) -> Costs:
        """Of passes, what a node in one has to be worth, and how long nodes take to come."""
        return Costs(self.verifier.costs.table_seconds(), self._policy.price, self._policy.waits)

    # -- streams -------------------------------------------------------------------------------

    def _publish(self) -> None:
        """Every ready stream gets one frame with what is newest."""
        for drafter, link in self._drafters.items():
            if link.ready and (messages := self.endpoint.messages_for(drafter)):
                news = self._price_news.tell(drafter, self._policy.price)
                link.send([encode_target([*messages, *news])])
        if self._control is not None and self._control.ready:
            events, self._refused = self._refused, []
            commits = self.endpoint.feed()
            logprobs = encode_logprobs(self._logprobs.take(commits))
            if commits or logprobs:
                columns = target_pb2.Commits(columns=encode_commits(commits), logprobs=logprobs)
                events.append(target_pb2.TargetEvent(commits=columns))
                events.extend(self._statistics(commit) for commit in commits if commit.final is not None)
            if events:
                self._control.send(events)

    def _statistics(self, commit: Commit) -> target_pb2.TargetEvent:
        names = self._lookups.names()
        counts = self.endpoint.stats(commit.request).to_dict()
        counts["credits"] = [[names.get(source, source), *credit] for source, *credit in counts["credits"]]
        statistics = target_pb2.Statistics(request=commit.request, values=encode_map(counts))
        return target_pb2.TargetEvent(statistics=statistics)
