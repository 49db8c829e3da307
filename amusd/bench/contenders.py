"""Who takes part: the table of contenders, which of them can run here, and their settings.

A contender is one way to decode that a user could pick, on one choice of devices; a variant is a contender
with its draft and its number of drafted tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, Literal, get_args

from amusd.bench.settings import BenchSettings
from amusd.config import RANDOM_DRAFT, Mode
from amusd.devices import DeviceSpec
from amusd.errors import InputError

System = Literal["transformers", "llamacpp", "amusd"]
Placement = Literal["target", "all", "both"]
"""The target's devices; those of both sides for one model, or for both in turns; target and draft apart."""

THRESHOLDS: Final[dict[str, tuple[float | None, ...]]] = {
    "transformers-assisted": (None, 0.0),
    "llamacpp-draft": (None, 0.75),
}
"""Probabilities of a drafted token below which drafting stops, as they are tried beside k: transformers' own
default (0.4) and none; none and 0.75."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to decode.

    Args:
        name: what `--contenders` calls it; several rows may share it.
        system: whose code.
        placement: which devices.
        drafts: whether a draft takes part.
        tuned: whether the number of drafted tokens is swept; otherwise it is the system's default.
        mode: of our engine.
        greedy_only: temperature 0 only.
    """

    name: str
    system: System
    placement: Placement
    drafts: bool = False
    tuned: bool = False
    mode: str | None = None
    greedy_only: bool = False

    @property
    def key(self) -> str:
        """Unique, and what tables and charts call the row: `transformers-assisted best k, all`."""
        ways = {"transformers-assisted": ", best k" if self.tuned else ", default k"}
        places = {"target": " [target]", "all": " [all]", "both": ""}
        return f"{self.name}{ways.get(self.name, '')}{places[self.placement]}"

    def runs_at(self, temperature: float) -> bool:
        """Whether it takes part at this temperature."""
        return temperature == 0 or not self.greedy_only


@dataclass(frozen=True, slots=True)
class Variant:
    """A contender with its settings.

    Args:
        contender: the contender's key.
        draft: the draft's name.
        k: drafted tokens at a time; None where the system's default or none.
        threshold: probability below which drafting stops early; None for the system's default.
    """

    contender: str
    draft: str | None = None
    k: int | None = None
    threshold: float | None = None

    @property
    def key(self) -> str:
        """Unique in a run, such as `sync, demo-large, k=7`."""
        parts = [self.contender, *([self.draft] if self.draft else [])]
        parts += [f"k={self.k}"] if self.k is not None else []
        parts += [f"threshold={self.threshold:g}"] if self.threshold is not None else []
        return ", ".join(parts)


_ALONE: Final[tuple[Placement, ...]] = ("target", "all")
CONTENDERS: Final = (
    *(Contender("transformers", "transformers", place) for place in _ALONE),
    *(
        Contender("transformers-assisted", "transformers", place, drafts=True, tuned=tuned)
        for tuned in (False, True)
        for place in _ALONE
    ),
    *(Contender("llamacpp", "llamacpp", place, greedy_only=True) for place in _ALONE),
    *(
        Contender("llamacpp-draft", "llamacpp", place, drafts=True, tuned=True, greedy_only=True)
        for place in _ALONE
    ),
    *(Contender("alone", "amusd", place, mode="alone") for place in _ALONE),
    Contender("sync", "amusd", "both", drafts=True, tuned=True, mode="sync"),
    Contender("amusd", "amusd", "both", drafts=True, tuned=True, mode="amusd"),
    Contender("pearl", "amusd", "both", drafts=True, tuned=True, mode="pearl"),
    Contender("async", "amusd", "both", drafts=True, mode="async"),
)
NAMES: Final = tuple(dict.fromkeys(contender.name for contender in CONTENDERS))
BY_KEY: Final = {contender.key: contender for contender in CONTENDERS}


def choose_contenders(settings: BenchSettings) -> tuple[list[Contender], dict[str, str]]:
    """The contenders to run, and why others are not, by name.

    Raises:
        InputError: an unknown name, or a named contender that cannot run here.
    """
    wanted = settings.contenders
    for name in wanted:
        if name not in NAMES:
            remedy = f"there is no such contender; choose from {', '.join(NAMES)}"
            raise InputError("--contenders", name, remedy)
    reasons = {name: reason for name in wanted or NAMES if (reason := why_not(name))}
    if wanted and reasons:
        name, reason = next(iter(reasons.items()))
        raise InputError("--contenders", name, reason)
    chosen = [
        contender
        for contender in CONTENDERS
        if contender.name in (wanted or NAMES)
        and contender.name not in reasons
        and (contender.placement != "all" or settings.all_devices is not None)
    ]
    return chosen, reasons


def why_not(name: str) -> str:
    """What keeps a contender from running here; empty where nothing does."""
    contender = next(contender for contender in CONTENDERS if contender.name == name)
    if contender.system == "llamacpp":
        missing = [package for package in ("llama_cpp", "gguf") if find_spec(package) is None]
        if missing:
            return f"{missing[0]} is not installed: pip install 'amusd[llamacpp]' builds it"
    if contender.mode is not None and contender.mode not in get_args(Mode):
        return f"this version of amusd has no mode {contender.mode}"
    return ""


def variants(contender: Contender, settings: BenchSettings) -> Iterator[Variant]:
    """All settings of a contender that are tried."""
    if not contender.drafts:
        yield Variant(contender.key)
        return
    thresholds: tuple[float | None, ...] = (None,)
    if contender.tuned and settings.seconds_max is None:
        thresholds = THRESHOLDS.get(contender.name, thresholds)
    for draft in drafts_of(contender, settings):
        for k in settings.ks if contender.tuned else (None,):
            for threshold in thresholds:
                yield Variant(contender.key, draft, k, threshold)


def drafts_of(contender: Contender, settings: BenchSettings) -> tuple[str, ...]:
    """The drafts that a contender can use: the one that guesses blindly is ours alone."""
    return tuple(draft for draft in settings.drafts if contender.system == "amusd" or draft != RANDOM_DRAFT)


def device_of(contender: Contender, settings: BenchSettings) -> DeviceSpec:
    """Where a contender's target runs."""
    if contender.placement == "all":
        assert settings.all_devices is not None, "chosen only where it exists"
        return settings.all_devices
    return settings.target_devices
