"""From what the user wrote (a packaged name, a folder, a hub id) to what transformers can load.

A wrong name is found here, before anything is downloaded, and told in one line: transformers itself would
retry an unreachable hub for half a minute and end in a trace of a hundred lines.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import huggingface_hub
import huggingface_hub.errors as hub_errors
from transformers.utils import logging

from amusd.errors import InputError, ModelError

Role = Literal["target", "draft"]

DEMO_FOLDER = Path(__file__).parent / "demo"
# (name, role) of the packaged models; `demo` as a draft is the one that decodes fastest.
_PACKAGED: dict[tuple[str, Role], str] = {
    ("demo", "target"): "target",
    ("demo", "draft"): "draft-large",
    ("demo-small", "target"): "draft-small",
    ("demo-small", "draft"): "draft-small",
    ("demo-large", "target"): "draft-large",
    ("demo-large", "draft"): "draft-large",
}
HUB_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model comes from.

    Attributes:
        path: a folder, or a hub id.
        local_only: take what is on this machine and ask no hub.
    """

    path: str
    local_only: bool


def resolve_name(name: str, role: Role = "target") -> str:
    """The folder of a packaged model, or `name` itself. `demo` means another model in each role."""
    folder = _PACKAGED.get((name, role))
    return name if folder is None else str(DEMO_FOLDER / folder)


def find_source(name: str, role: Role = "target", revision: str | None = None) -> Source:
    """Find a model without loading it.

    Args:
        name: `demo`, `demo-small`, `demo-large`, a folder, or a hub id.
        role: names the option in errors, and picks the model behind `demo`.
        revision: hub branch, tag or commit.

    Raises:
        InputError: there is no such model, folder or revision.
        ModelError: the hub cannot be reached and the model is not in its local cache.
    """
    path = resolve_name(name, role)
    folder = Path(path).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise InputError(role, name, "the folder has no config.json; give the folder that holds one")
        return Source(str(folder), local_only=True)
    if path != name:
        raise ModelError(f"{role}: {name}: the packaged model is missing ({path}); install amusd again")
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or os.sep + os.sep in name:
        raise InputError(role, name, "no such folder; give an existing one, or a hub id such as owner/name")
    return Source(name, local_only=not _on_hub(name, role, revision))


def _on_hub(name: str, role: Role, revision: str | None) -> bool:
    """True: ask the hub. False: only the local cache can be used, and it has the model."""
    try:
        cached = isinstance(
            huggingface_hub.try_to_load_from_cache(name, "config.json", revision=revision), str
        )
    except hub_errors.HFValidationError as error:
        raise InputError(role, name, "neither a folder nor a hub id such as owner/name") from error
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        if cached:
            return False
        remedy = "not in the local cache, and HF_HUB_OFFLINE is set; unset it, or download the model first"
        raise ModelError(f"{role}: {name}: {remedy}")
    try:
        huggingface_hub.HfApi().model_info(name, revision=revision, timeout=HUB_TIMEOUT_SECONDS)
    except hub_errors.GatedRepoError as error:
        remedy = "the hub asks to accept its terms first; do so, then run `hf auth login`"
        raise ModelError(f"{role}: {name}: {remedy}") from error
    except hub_errors.RevisionNotFoundError as error:
        raise InputError(f"{role} revision", revision, f"{name} has no such revision") from error
    except hub_errors.RepositoryNotFoundError as error:
        raise InputError(
            role, name, "no such folder, no such model on the hub; check the spelling"
        ) from error
    except Exception as error:  # the hub client's transport raises errors of many kinds
        if cached:
            return False
        endpoint = huggingface_hub.constants.ENDPOINT
        remedy = f"no such folder, and {endpoint} cannot be reached; check the spelling or the network"
        raise ModelError(f"{role}: {name}: {remedy}") from error
    return True


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' progress bars and warnings off the terminal; what matters is raised instead."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
