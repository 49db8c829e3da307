"""`amusd serve`: settings from everywhere, then the server."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from amusd.errors import AmusdError

EXTRA: Final = ("fastapi", "prometheus_client", "pydantic_settings", "uvicorn")


def run_server(flags: Mapping[str, Any], file: Path | None) -> None:
    """Read the settings and serve until a signal ends it.

    Raises:
        InputError: a setting is refused.
        AmusdError: the extra is not installed, or the engine cannot start or has failed.
    """
    try:
        from amusd.serving.server import serve
        from amusd.serving.settings import read_settings
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        raise AmusdError(f"serve: {error.name} is not installed; pip install 'amusd[serve]'") from None
    serve(*read_settings(flags, file))
