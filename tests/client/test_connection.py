"""What a client says, before anything is sent."""

import json

import pytest

from amusd.client.connection import Connection, generate_request, tokenize_request
from amusd.errors import InputError
from amusd.params import SamplingParams


@pytest.mark.parametrize("address", ["", "host", "host:", ":80", "host:http"])
def test_an_address_without_host_or_port_is_refused(address):
    with pytest.raises(InputError, match="give host:port"):
        Connection(address)


def test_a_certificate_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"tls: .*nothing\.pem: cannot be read"):
        Connection("a:1", tls=tmp_path / "nothing.pem").credentials()
    assert Connection("a:1").credentials() is None


def test_a_call_is_sent_again_only_where_nothing_was_delivered():
    config = json.loads(dict(Connection("a:1").options)["grpc.service_config"])
    [method] = config["methodConfig"]
    assert set(method["retryPolicy"]["retryableStatusCodes"]) == {"UNAVAILABLE", "RESOURCE_EXHAUSTED"}
    assert ("grpc.enable_retries", 0) in Connection("a:1", retries=False).options


def test_the_token_goes_along_as_a_bearer():
    assert Connection("a:1", token="k").metadata == (("authorization", "Bearer k"),)
    assert Connection("a:1").metadata == ()


def test_a_prompt_is_text_or_token_ids_and_nothing_else():
    params = SamplingParams(temperature=0.3, stop="x")
    text = generate_request("abc", params, "mine", None)
    assert (text.text, text.request_id) == ("abc", "mine")
    assert SamplingParams.from_dict(json.loads(text.sampling)) == params
    assert not text.HasField("speculative")
    ids = generate_request((1, 2), params, "", False)
    assert (list(ids.tokens.ids), ids.speculative) == ([1, 2], False)
    assert generate_request([], params, "", None).WhichOneof("prompt") == "tokens"
    for wrong in ([-1], ["a"], 3, None, [2**40]):
        with pytest.raises(InputError, match="give text, or a list of token ids"):
            generate_request(wrong, params, "", None)


def test_a_conversation_keeps_its_roles():
    request = tokenize_request([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}])
    assert [(m.role, m.content) for m in request.messages] == [("system", "a"), ("user", "b")]
