"""Flags, environment and file: one name, one precedence, nothing unknown."""

import pytest
import typer

from amusd.cli import serving
from amusd.cli.app import app
from amusd.config import EngineConfig
from amusd.errors import InputError
from amusd.serving.settings import ServerConfig, read_settings, variables_of_services


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path, monkeypatch):
    file = tmp_path / "serve.yaml"
    file.write_text("target: demo\nport: 1\nmax-requests: 2\ngrpc_port: 3\napi_key: [a, b]\n")
    monkeypatch.setenv("AMUSD_PORT", "4")
    monkeypatch.setenv("AMUSD_GRPC_PORT", "5")
    engine, server = read_settings({"port": 6}, file)
    assert (server.port, server.grpc_port, engine.max_requests) == (6, 5, 2)
    assert server.api_key == ("a", "b")


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("AMUSD_MAX_REQUESTS", "3", "max_requests", 3),
        ("AMUSD_MAX_MODEL_LEN", "null", "max_model_len", None),
        ("AMUSD_QUANTIZATION_CONFIG", '{"bits": 4}', "quantization_config", {"bits": 4}),
        ("AMUSD_TRUST_REMOTE_CODE", "true", "trust_remote_code", True),
        ("AMUSD_DRAFT", "demo-small", "draft", "demo-small"),
        ("AMUSD_DRAFT", '["demo-small", "ngram"]', "drafts", ("demo-small", "ngram")),
    ],
)
def test_the_environment_s_text_becomes_what_a_setting_holds(monkeypatch, name, text, field, value):
    monkeypatch.setenv(name, text)
    engine, _ = read_settings({}, None)
    assert getattr(engine, field) == value


def test_the_environment_may_name_the_file(tmp_path, monkeypatch):
    file = tmp_path / "serve.yaml"
    file.write_text("max_queue: 7\n")
    monkeypatch.setenv("AMUSD_CONFIG", str(file))
    assert read_settings({}, None)[1].max_queue == 7


@pytest.mark.parametrize(("flags", "named"), [([], True), (["--no-vllm-metrics"], False)])
def test_vllm_s_names_can_be_switched_off_by_flag(monkeypatch, flags, named):
    given = []
    monkeypatch.setattr(serving, "run_server", lambda settings, file: given.append(settings))
    typer.main.get_command(app).main(["serve", *flags], standalone_mode=False)
    assert read_settings(given[0], None)[1].vllm_metrics is named


def test_a_key_in_the_environment_is_a_key_and_no_number(monkeypatch):
    monkeypatch.setenv("AMUSD_API_KEY", "123")
    assert read_settings({}, None)[1].api_key == ("123",)


def test_a_variable_that_no_setting_has_is_refused_with_the_nearest_one(monkeypatch):
    monkeypatch.setenv("AMUSD_MAX_REQUEST", "3")
    with pytest.raises(InputError, match=r"AMUSD_MAX_REQUEST: 3: .*did you mean AMUSD_MAX_REQUESTS"):
        read_settings({}, None)


@pytest.mark.parametrize("service", ["AMUSD", "AMUSD_GRPC", "AMUSD_SERVE_SVC"])
def test_what_kubernetes_sets_for_a_service_of_our_name_is_left_aside(monkeypatch, service):
    port = f"{service}_PORT_8000_TCP"
    injected = {
        f"{service}_SERVICE_HOST": "10.0.0.1",
        f"{service}_SERVICE_PORT": "8000",
        f"{service}_SERVICE_PORT_HTTP_API": "8000",
        f"{service}_PORT": "tcp://10.0.0.1:8000",
        port: "tcp://10.0.0.1:8000",
        f"{port}_PROTO": "tcp",
        f"{port}_PORT": "8000",
        f"{port}_ADDR": "10.0.0.1",
    }
    for name, value in injected.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AMUSD_MAX_QUEUE", "3")
    _, server = read_settings({}, None)
    assert (server.port, server.grpc_port, server.max_queue) == (8000, 8001, 3)
    assert variables_of_services() == sorted(injected)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AMUSD_PORT", "http://10.0.0.1", "AMUSD_PORT: http://10.0.0.1: "),
        ("AMUSD_SERVICE_NAME", "a", "AMUSD_SERVICE_NAME: a: there is no such setting"),
        ("AMUSD_PORT_8000", "a", "AMUSD_PORT_8000: a: there is no such setting"),
    ],
)
def test_what_only_resembles_it_is_refused(monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    assert variables_of_services() == []
    with pytest.raises(InputError, match=message):
        read_settings({}, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("max_request: 3", "max_request: 3: there is no such setting; did you mean max_requests"),
        ("port: eighty", "port: eighty: give a port"),
        ("max_requests: '3'", "max_requests: 3: give a whole number"),
        ("mode: turbo", "mode: turbo: give one of"),
        ("- 1", "is no mapping"),
        ("a: [", "is not YAML"),
        ("drain_seconds: .nan", "drain_seconds: nan: give a number of 0 or more"),
        ("grpc_port: 8000", "grpc_port: 8000: HTTP uses it"),
        ("ssl_keyfile: /dev/null", "ssl_certfile: .*give both"),
        ("chat_template: /nowhere", "chat_template: /nowhere: there is no such file"),
        ("log_format: xml", "log_format: xml: give text or json"),
    ],
)
def test_a_file_is_refused_by_the_name_of_what_is_wrong(tmp_path, content, message):
    file = tmp_path / "serve.yaml"
    file.write_text(content)
    with pytest.raises(InputError, match=message):
        read_settings({}, file)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.yaml: cannot be read"):
        read_settings({}, tmp_path / "nothing.yaml")


def test_a_speculative_config_is_understood_as_vllm_s_users_write_it():
    given = '{"method": "draft_model", "model": "demo-large", "num_speculative_tokens": 3}'
    engine, _ = read_settings({"speculative_config": given}, None)
    assert (engine.draft, engine.num_speculative_tokens) == ("demo-large", 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "give a JSON object"),
        ('{"method": "eagle"}', "speculative_config.method: eagle"),
        ('{"draft_tensor_parallel_size": 1}', "draft_tensor_parallel_size: 1: is not supported"),
        ('{"model": "demo-large"}', "draft: demo-small: .*give one of the two"),
    ],
)
def test_a_speculative_config_is_refused_by_name(given, message):
    with pytest.raises(InputError, match=message):
        read_settings({"speculative_config": given, "draft": "demo-small"}, None)


def test_every_setting_has_a_flag_where_an_engine_s_has_one_and_every_flag_is_a_setting():
    commands = typer.main.get_command(app).commands
    flags = {parameter.name for parameter in commands["serve"].params} - {"config", "speculative_config"}
    elsewhere = {parameter.name for parameter in commands["generate"].params}
    in_files_only = EngineConfig.model_fields.keys() - elsewhere
    assert flags == (EngineConfig.model_fields.keys() - in_files_only) | ServerConfig.model_fields.keys()
