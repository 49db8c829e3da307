"""What a client says, before anything is sent."""

import json

import pytest

from amusd.client.connection import Connection, generate_request, generate_requests, tokenize_request
from amusd.errors import InputError
from amusd.params import SamplingParams
from amusd.wishes import Wishes


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
    text = generate_request("abc", params, Wishes(), "mine")
    assert (text.text, text.request_id) == ("abc", "mine")
    assert SamplingParams.from_dict(json.loads(text.sampling)) == params
    assert not text.HasField("speculative")
    ids = generate_request((1, 2), params, Wishes(speculative=False))
    assert (list(ids.tokens.ids), ids.speculative) == ([1, 2], False)
    assert generate_request([], params, Wishes()).WhichOneof("prompt") == "tokens"
    for wrong in ([-1], ["a"], 3, None, [2**40]):
        with pytest.raises(InputError, match="give text, or a list of token ids"):
            generate_request(wrong, params, Wishes())


def test_wishes_are_for_all_prompts_or_one_for_each():
    requests = generate_requests(
        ["a", "b"], None, {"priority": [3, None], "deadline_seconds": 2.0, "num_speculative_tokens": 0}
    )
    assert [request.priority for request in requests] == [3, 0]
    assert [request.deadline_seconds for request in requests] == [2.0, 2.0]
    assert [request.num_speculative_tokens for request in requests] == [0, 0]
    plain = generate_requests("a", None, {})[0]
    assert not plain.HasField("deadline_seconds") and not plain.HasField("num_speculative_tokens")


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"priority": [1]}, "priority: 1 of them: give one value, or 2"),
        ({"priority": [1, 2, 3]}, "priority: 3 of them: give one value, or 2"),
        ({"priority": "high"}, "priority: high: give a whole number"),
        ({"deadline_seconds": [1.0, -1.0]}, "deadline_seconds: -1.0: give a finite number above 0"),
        ({"prioritty": 1}, "prioritty: 1: unknown; known are speculative, num_speculative_tokens, priority"),
    ],
)
def test_a_wish_that_cannot_be_is_named(wishes, message):
    with pytest.raises(InputError, match=message):
        generate_requests(["a", "b"], None, wishes)


def test_a_conversation_keeps_its_roles():
    request = tokenize_request([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}])
    assert [(m.role, m.content) for m in request.messages] == [("system", "a"), ("user", "b")]
