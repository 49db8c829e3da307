"""What the results say: a pure function of them, so that tables can be made again from the JSON."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

from amusd.bench.contenders import BY_KEY, CONTENDERS, Variant
from amusd.bench.limits import DEPTHS_SHOWN, HIDDEN, REACHED_MIN, BoundRow, DraftRow, bound_rows, draft_row
from amusd.bench.results import Record, Results, digest_of
from amusd.bench.statistics import Spread, paired_ratio, spread

SAME_DEVICES: Final = "transformers [target]"
EQUAL_DEVICES: Final = "transformers [all]"
ALONE_SAME_DEVICES: Final = "alone [target]"

_ASSISTED: Final = "transformers-assisted, {} k [{}]"
COMPARISONS: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    ("alone over transformers, same target devices", ALONE_SAME_DEVICES, (SAME_DEVICES,)),
    ("alone over transformers, equal total devices", "alone [all]", (EQUAL_DEVICES,)),
    ("async over alone, same target devices", "async", (ALONE_SAME_DEVICES,)),
    ("async over alone, equal total devices", "async", ("alone [all]",)),
    ("async over sync at its best k", "async", ("sync",)),
    ("async over amusd at its best k", "async", ("amusd",)),
    ("async over pearl at its best k", "async", ("pearl",)),
    (
        "async over the best assisted generation, same target devices",
        "async",
        tuple(_ASSISTED.format(way, "target") for way in ("default", "best")),
    ),
    (
        "async over the best of transformers, equal total devices",
        "async",
        (EQUAL_DEVICES, *(_ASSISTED.format(way, "all") for way in ("default", "best"))),
    ),
    (
        "async over the best of llama.cpp, same target devices",
        "async",
        ("llamacpp [target]", "llamacpp-draft [target]"),
    ),
    (
        "async over the best of llama.cpp, equal total devices",
        "async",
        ("llamacpp [all]", "llamacpp-draft [all]"),
    ),
)
"""What is claimed or wondered about: one contender over the best of a group."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many outputs are the reference's, token by token."""

    identical: int
    total: int


@dataclass(frozen=True, slots=True)
class Row:
    """One variant at one temperature; the columns of benchmarks/README.md.

    ``over_same`` and ``over_equal`` are over `transformers` on the target's devices and on all,
    ``over_alone`` over `alone` on the target's; None where those did not run. ``must_agree`` says that an
    output other than the reference's is a defect. ``by_depth`` is the acceptance of verified nodes of depth
    1, 2, ... whose parent was accepted; None where there were too few.
    """

    temperature: float
    contender: str
    variant: Variant
    tokens_per_second: Spread
    by_kind: dict[str, float]  # tokens per second by kind of prompt, over all repeats
    decode_tokens_per_second: Spread
    first_ms: float
    acceptance_rate: float | None
    tokens_per_pass: float
    overlap: float | None
    foreseen: float | None
    by_depth: list[float | None]
    joules_per_token: float | None
    over_same: Spread | None
    over_equal: Spread | None
    over_alone: Spread | None
    share: float | None
    agreement: Agreement | None
    must_agree: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """A contender over the best of a group, by repeat."""

    temperature: float
    text: str
    denominator: str
    ratio: Spread


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything that tables and charts show.

    ``rows`` has each contender's best draft, ``sweep`` every draft of those that draft.
    """

    rows: list[Row]
    sweep: list[Row]
    comparisons: list[Comparison]
    drafts: list[DraftRow]
    bounds: list[BoundRow]
    repeats: int
    temperatures: list[float]

    @property
    def differing(self) -> list[Row]:
        """Rows of ours whose output was not the target's own."""
        return [
            row
            for row in self.sweep + self.rows
            if row.must_agree and row.agreement and row.agreement.identical < row.agreement.total
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def throughput(records: Sequence[Record]) -> float:
    """Sum of tokens over sum of seconds."""
    return sum(record.tokens for record in records) / sum(record.seconds for record in records)


def decode_throughput(records: Sequence[Record]) -> float:
    """The same after the first tokens; over the whole where everything came at once."""
    tokens = sum(record.tokens - record.first_tokens for record in records)
    seconds = sum(record.seconds - record.first_seconds for record in records)
    return tokens / seconds if tokens else throughput(records)


def fastest(options: Sequence[Variant], records: Sequence[Record], phase: str) -> Variant:
    """The variant with the greatest median of tokens per second over repeats."""

    def speed(variant: Variant) -> float:
        own = [record for record in records if record.variant == variant.key and record.phase == phase]
        return median(by_repeat(own, throughput))

    return max(options, key=speed)


def by_repeat(records: Sequence[Record], value: Callable[[Sequence[Record]], float]) -> list[float]:
    """A value of each repeat's records, in order of repeats."""
    repeats = sorted({record.repeat for record in records})
    return [value([record for record in records if record.repeat == repeat]) for repeat in repeats]


def summarize(results: Results) -> Summary:
    """Rows, ratios, drafts and bounds of the results."""
    measured = [record for record in results.records if record.phase == "measure"]
    temperatures = sorted({record.temperature for record in measured})
    drafts = [draft_row(results, name, t) for name, by in results.ranks.items() for t in sorted(by)]
    limits = [row for t in temperatures for row in bound_rows(results, t)]
    rows: list[Row] = []
    sweep: list[Row] = []
    comparisons: list[Comparison] = []
    for temperature in temperatures:
        here = [record for record in measured if record.temperature == temperature]
        ran = {record.variant: results.variants[record.variant] for record in here}
        best: dict[str, Variant] = {}
        for contender in CONTENDERS:
            options = [variant for variant in ran.values() if variant.contender == contender.key]
            if options:
                best[contender.key] = fastest(options, here, "measure")
        make = _RowMaker(results, here, best, limits)
        rows += [make(variant) for variant in best.values()]
        sweep += [
            make(variant)
            for key in best
            for variant in ran.values()
            if variant.contender == key and variant.draft is not None
        ]
        comparisons += _comparisons(here, best, temperature)
    repeats = len({record.repeat for record in measured})
    return Summary(rows, sweep, comparisons, drafts, limits, repeats, temperatures)


class _RowMaker:
    """Makes the rows of one temperature."""

    def __init__(
        self,
        results: Results,
        records: Sequence[Record],
        best: dict[str, Variant],
        limits: Sequence[BoundRow],
    ) -> None:
        self._results = results
        self._records = records
        self._best = best
        temperature = records[0].temperature
        hidden = [row.bound for row in limits if row.temperature == temperature and row.name == HIDDEN]
        self._limit = hidden[0].tokens_per_second if hidden else None

    def _own(self, variant: Variant) -> list[Record]:
        return [record for record in self._records if record.variant == variant.key]

    def _over(self, variant: Variant, baseline: str) -> Spread | None:
        if baseline not in self._best:
            return None
        below = by_repeat(self._own(self._best[baseline]), throughput)
        return paired_ratio(by_repeat(self._own(variant), throughput), below)

    def _agreement(self, own: Sequence[Record], must_agree: bool) -> Agreement | None:
        """Compared with the reference: ours always, others where no noise decides."""
        reference = self._results.references.get(own[0].temperature)
        if reference is None or not (must_agree or own[0].temperature == 0):
            return None
        wanted = [digest_of(ids) for ids in reference]
        return Agreement(sum(record.digest == wanted[record.prompt] for record in own), len(own))

    def _by_kind(self, own: Sequence[Record]) -> dict[str, float]:
        kinds: dict[str, list[Record]] = {}
        for record in own:
            kinds.setdefault(self._results.prompts[record.prompt].kind, []).append(record)
        return {kind: throughput(records) for kind, records in kinds.items()}

    def __call__(self, variant: Variant) -> Row:
        own = self._own(variant)
        contender = BY_KEY[variant.contender]
        is_ours = contender.system == "amusd"
        verified = sum(record.verified for record in own)
        joules = [record.joules for record in own if record.joules is not None]
        decode = spread(by_repeat(own, decode_throughput))
        tokens = sum(record.tokens for record in own)
        must_agree = is_ours and contender.placement != "all" and self._results.exact
        return Row(
            temperature=own[0].temperature,
            contender=contender.key,
            variant=variant,
            tokens_per_second=spread(by_repeat(own, throughput)),
            by_kind=self._by_kind(own),
            decode_tokens_per_second=decode,
            first_ms=1e3 * median(record.first_seconds for record in own),
            acceptance_rate=sum(record.accepted for record in own) / verified if verified else None,
            tokens_per_pass=tokens / sum(record.passes for record in own),
            overlap=(
                sum(record.extras["overlap"] * record.seconds for record in own)
                / sum(record.seconds for record in own)
                if is_ours and contender.drafts
                else None
            ),
            foreseen=_foreseen(own),
            by_depth=_by_depth(own),
            joules_per_token=sum(joules) / tokens if joules else None,
            over_same=self._over(variant, SAME_DEVICES),
            over_equal=self._over(variant, EQUAL_DEVICES),
            over_alone=self._over(variant, ALONE_SAME_DEVICES),
            share=decode.median / self._limit if self._limit else None,
            agreement=self._agreement(own, is_ours),
            must_agree=must_agree,
        )


def _foreseen(records: Sequence[Record]) -> float | None:
    """The share of corrections that a branch already held; None where there were none."""
    corrections = sum(record.extras.get("corrections", 0.0) for record in records)
    foreseen = sum(record.extras.get("foreseen_corrections", 0.0) for record in records)
    return foreseen / corrections if corrections else None


def _by_depth(records: Sequence[Record]) -> list[float | None]:
    counted = [record.counts for record in records if record.counts]
    verified = [sum(column) for column in zip(*(c["depth_verified"] for c in counted), strict=True)]
    accepted = [sum(column) for column in zip(*(c["depth_accepted"] for c in counted), strict=True)]
    return [
        hits / tried if tried >= REACHED_MIN else None for hits, tried in zip(accepted, verified, strict=True)
    ][:DEPTHS_SHOWN]


def _comparisons(records: Sequence[Record], best: dict[str, Variant], temperature: float) -> list[Comparison]:
    found = []
    for text, above, group in COMPARISONS:
        rivals = [best[key] for key in group if key in best]
        if above not in best or not rivals:
            continue
        rival = fastest(rivals, records, "measure")

        def speeds(variant: Variant) -> list[float]:
            return by_repeat([record for record in records if record.variant == variant.key], throughput)

        ratio = paired_ratio(speeds(best[above]), speeds(rival))
        found.append(Comparison(temperature, text, rival.key, ratio))
    return found
