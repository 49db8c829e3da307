"""JSON from outside: parsed strictly, with errors that say where and what."""

import json
from collections.abc import Mapping
from typing import Any

from amusd.errors import InputError
from amusd.params import SamplingParams


def read_json(text: str | bytes, field: str) -> Any:
    """Parse JSON; NaN, infinities and half characters are no JSON here.

    Args:
        field: what it is called in errors.

    Raises:
        InputError: it is malformed, or nested too deep.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        if _may_hold_surrogates(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise InputError(field, "(nested)", "it is nested too deep") from None
    except UnicodeEncodeError:
        raise InputError(field, "(text)", "it holds half a character (a lone surrogate)") from None
    except ValueError as error:
        raise InputError(field, "(not JSON)", str(error)) from None
    return value


def read_sampling(values: Mapping[str, Any]) -> SamplingParams:
    """Sampling parameters from JSON; null means that a setting is not given.

    Raises:
        InputError: as `SamplingParams` does.
    """
    return SamplingParams.from_dict({name: value for name, value in values.items() if value is not None})


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON: give a finite number")


def _may_hold_surrogates(text: str | bytes) -> bool:
    """Bytes that are not UTF-8 are refused by the parser, so only an escape can bring one in."""
    return ("\\ud" in text.lower()) if isinstance(text, str) else (b"\\ud" in text.lower())
