"""What every launcher does: start workers, say where they are, restart those that die, leave nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from amusd.devices import DeviceSpec
from amusd.params import ProcessorsOf

Role = Literal["target", "draft"]
WorkerKey = tuple[Role, int]

START_SECONDS_MAX = 1800.0  # a large model from a slow disk or the hub
RESTART_DELAY_SECONDS_MIN = 0.1
RESTART_DELAY_SECONDS_MAX = 10.0
STABLE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One worker to start.

    Args:
        role: `target` or `draft`.
        index: number of the worker within its role.
        device: where its model runs.
        io_cores: the cores for its other threads (gRPC, asyncio); empty for no restriction.
        options: handed to the worker as it is; JSON values. `entry` names the function that starts the
            worker (`module:function`, see `shell.start_worker`); `host` is the address to listen on.
    """

    role: Role
    index: int
    device: DeviceSpec
    io_cores: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> WorkerKey:
        """What launchers know the worker by."""
        return self.role, self.index

    @property
    def name(self) -> str:
        """What messages call the worker."""
        return f"{self.role} worker {self.index} ({self.device})"

    def payload(self, host: str = "127.0.0.1") -> dict[str, Any]:
        """The JSON object that the worker receives.

        Args:
            host: the address to listen on unless the options name one.
        """
        return {
            "role": self.role,
            "index": self.index,
            "device": str(self.device),
            "io_cores": list(self.io_cores),
            "options": {"host": host, **self.options},
        }


class Launcher(Protocol):
    """Starts workers and keeps them running until closed.

    A worker that dies once all have started is started again, at a bounded rate. `close` is also called
    when the interpreter exits, and when `start` fails.

    Attributes:
        elsewhere: whether workers may land on other machines than this one, so that only they can tell which
            devices there are.
        processors: where Python logits processors of requests are put for the target; None if it runs in
            another process.
    """

    elsewhere: bool
    processors: ProcessorsOf | None

    def start(self, specs: Sequence[WorkerSpec]) -> None:
        """Start all workers; return when each has loaded its model and serves.

        Raises:
            ModelError, InputError: a worker refused its model, its device or another option.
            WorkerError: a worker died while loading, or could not be placed.
        """

    def address(self, role: Role, index: int) -> str:
        """The worker's latest `host:port`; a restart changes it. Never blocks."""

    def pid(self, role: Role, index: int) -> int | None:
        """The worker's process id on its machine; None while it is down."""

    def close(self) -> None:
        """Stop all workers and whatever was started for them; may be called again."""


@dataclass(slots=True)
class Backoff:
    """How long to wait before a restart: doubles with each early death, starts over after a long life."""

    deaths: int = 0

    def delay_seconds(self, lived_seconds: float) -> float:
        """Note a death after `lived_seconds` and return the pause before the next start."""
        self.deaths = 0 if lived_seconds >= STABLE_SECONDS else self.deaths
        delay = RESTART_DELAY_SECONDS_MIN * 2.0 ** min(self.deaths, 16)
        self.deaths += 1
        return min(delay, RESTART_DELAY_SECONDS_MAX)
