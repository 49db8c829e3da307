"""What a server is made of beside its engine, and where its settings come from.

Every setting has one name. It is a flag (`--max-queue`), a key of the configuration file (`max_queue`, or as
the flag is written) and an environment variable (`AMUSD_MAX_QUEUE`); flags win over the environment, the
environment over the file. A name that is not known is refused wherever it stands, but for the variables that
Kubernetes sets in every pod for a Service whose name begins with amusd: those are left aside. `AMUSD_CONFIG`
names the file, and workers read `AMUSD_COST_FILES`.
"""

import json
import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from amusd.config import EngineConfig, Text
from amusd.errors import InputError
from amusd.workers.cost_files import VARIABLE as COST_FILES

ENV_PREFIX: Final = "AMUSD_"
_FILE: Final = "AMUSD_CONFIG"
_READ_ELSEWHERE: Final = (_FILE, COST_FILES)
_OF_A_SERVICE: Final = re.compile(
    r"AMUSD_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_PORT_OF_A_SERVICE: Final = re.compile(r"AMUSD_(\w+_)?PORT=(tcp|udp|sctp)://.*")
_PORT = "give a port from 0 (any free one) to 65535"
_REMEDIES: Final = {
    "host": "give an address of this machine, such as 127.0.0.1 or 0.0.0.0",
    "port": _PORT,
    "grpc_port": _PORT,
    "served_model_name": "give the name that clients ask for",
    "api_key": "give one key, or a list of them, of at least one character each",
    "ssl_certfile": "give a PEM file",
    "ssl_keyfile": "give a PEM file",
    "max_queue": "give a whole number of 0 or more",
    "drain_seconds": "give a number of 0 or more",
    "chat_template": "give a file with a Jinja template",
    "statistics_seconds": "give a number above 0",
    "vllm_metrics": "give true or false",
    "log_format": "give text or json",
}


class ServerConfig(BaseModel):
    """What is fixed while a server lives, beside its `EngineConfig`.

    Args:
        host: address to listen on, for HTTP and gRPC.
        port: of HTTP; 0 takes any free one, and the log says which.
        grpc_port: of gRPC, likewise.
        served_model_name: what clients call the model; None is the target's own name.
        api_key: keys of which a client must send one; none lets everybody in.
        ssl_certfile, ssl_keyfile: PEM files; both, and then HTTP and gRPC speak TLS only.
        max_queue: requests that wait while `max_requests` are decoded; more are refused as too many.
        drain_seconds: how long live requests may go on after SIGTERM.
        chat_template: file with a Jinja template, in place of the tokenizer's own.
        statistics_seconds: between two lines of statistics, and between updates of overlap and window use.
        vllm_metrics: give metrics that mean what vLLM's mean vLLM's names; otherwise all begin with amusd.
        log_format: of the log on the standard error.

    Raises:
        InputError: a value is not allowed, or a name is unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Text = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    grpc_port: int = Field(8001, ge=0, le=65535)
    served_model_name: Text | None = None
    api_key: tuple[Text, ...] = ()
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    max_queue: int = Field(64, ge=0)
    drain_seconds: float = Field(30.0, ge=0, allow_inf_nan=False)
    chat_template: Path | None = None
    statistics_seconds: float = Field(10.0, gt=0, allow_inf_nan=False)
    vllm_metrics: bool = True
    log_format: Literal["text", "json"] = "text"

    def __init__(self, **values: Any) -> None:
        if isinstance(values.get("api_key"), str):
            values["api_key"] = (values["api_key"],)
        try:
            super().__init__(**values)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            field = str(problem["loc"][0])
            raise InputError(field, values[field], _REMEDIES.get(field, "there is no such option")) from None
        if (self.ssl_certfile is None) != (self.ssl_keyfile is None):
            missing = "ssl_keyfile" if self.ssl_keyfile is None else "ssl_certfile"
            raise InputError(missing, "(not given)", "TLS needs a certificate and its key: give both")
        for field in ("ssl_certfile", "ssl_keyfile", "chat_template"):
            path = getattr(self, field)
            if path is not None and not path.is_file():
                raise InputError(field, str(path), f"there is no such file: {_REMEDIES[field]}")
        if self.port and self.port == self.grpc_port:
            raise InputError("grpc_port", self.grpc_port, "HTTP uses it (port): give another")


_KNOWN: Final = {**EngineConfig.model_fields, **ServerConfig.model_fields}
_SPECULATIVE_NAMES: Final = {
    "model": "draft",
    "num_speculative_tokens": "num_speculative_tokens",
    "revision": "draft_revision",
}


def read_settings(flags: Mapping[str, Any], file: Path | None) -> tuple[EngineConfig, ServerConfig]:
    """The settings of a server from flags, environment and file.

    Args:
        flags: those that were given.
        file: YAML; None reads the one that AMUSD_CONFIG names, if it names one.

    Raises:
        InputError: a name is unknown, a value not allowed, or the file cannot be read.
    """
    if file is None and os.environ.get(_FILE):
        file = Path(os.environ[_FILE])
    values = {**_read_file(file), **_read_environment(), **flags}
    speculative = values.pop("speculative_config", None)
    if speculative is not None:
        values |= _read_speculative_config(speculative, values)
    for name in values.keys() - _KNOWN.keys():
        near = get_close_matches(name, _KNOWN, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(_KNOWN)}"
        raise InputError(name, values[name], f"there is no such setting; {hint}")
    engine = {name: value for name, value in values.items() if name in EngineConfig.model_fields}
    server = {name: value for name, value in values.items() if name in ServerConfig.model_fields}
    return EngineConfig(**engine), ServerConfig(**server)


def _read_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        read = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError("config", str(file), f"cannot be read ({error.strerror}); check the path") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError("config", str(file), f"is not YAML: {' '.join(str(error).split())}") from None
    if read is None:
        return {}
    if not isinstance(read, dict):
        raise InputError("config", str(file), "is no mapping of settings to values")
    return {str(name).replace("-", "_"): value for name, value in read.items()}


def variables_of_services() -> list[str]:
    """Variables that are not ours: Kubernetes set them for a Service called amusd or amusd-something."""
    return sorted(
        name
        for name, value in os.environ.items()
        if _OF_A_SERVICE.fullmatch(name) or _PORT_OF_A_SERVICE.fullmatch(f"{name}={value}")
    )


def _read_environment() -> dict[str, Any]:
    """The settings among the environment's variables; their text becomes what each setting holds."""
    aside = (*variables_of_services(), *_READ_ELSEWHERE)
    for variable in os.environ:
        name = variable.removeprefix(ENV_PREFIX).lower()
        ours = variable.startswith(ENV_PREFIX) and variable not in aside
        if ours and name not in (*_KNOWN, "speculative_config"):
            near = get_close_matches(name, _KNOWN, n=1)
            hint = f"did you mean {ENV_PREFIX}{near[0].upper()}?" if near else "unset it"
            raise InputError(variable, os.environ[variable], f"there is no such setting; {hint}")
    fields: dict[str, Any] = {name: (field.annotation, None) for name, field in _KNOWN.items()}
    for variable in aside:
        fields.pop(variable.removeprefix(ENV_PREFIX).lower(), None)
    fields["api_key"] = (str, None)
    fields["speculative_config"] = (dict[str, Any], None)
    try:
        read = create_model("Environment", __base__=_Environment, **fields)()
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        variable, value = f"{ENV_PREFIX}{str(problem['loc'][0]).upper()}", problem["input"]
        remedy = problem["msg"][:1].lower() + problem["msg"][1:]
        raise InputError(variable, value, remedy) from None
    except SettingsError as error:
        raise InputError("environment", "(not JSON)", " ".join(str(error).split())) from None
    return {name: getattr(read, name) for name in read.model_fields_set}


class _Environment(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_parse_none_str="null", extra="ignore", validate_default=False
    )


def _read_speculative_config(given: object, values: Mapping[str, Any]) -> dict[str, Any]:
    """What vLLM's `--speculative-config` says, in this project's names."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError as error:
            raise InputError("speculative_config", given, f"is not JSON: {error}") from None
    if not isinstance(given, dict):
        raise InputError("speculative_config", given, "give a JSON object")
    read = {}
    for key, value in given.items():
        if key == "method":
            if value != "draft_model":
                raise InputError("speculative_config.method", value, "give draft_model, or leave it out")
            continue
        name = _SPECULATIVE_NAMES.get(key)
        if name is None:
            known = ", ".join(("method", *_SPECULATIVE_NAMES))
            raise InputError(f"speculative_config.{key}", value, f"is not supported; known are {known}")
        if name in values:
            raise InputError(name, values[name], f"speculative_config.{key} says so too: give one of the two")
        read[name] = value
    return read
