"""What the HTTP side refuses, in which words and with which status."""

import asyncio

import pytest

from amusd.errors import WorkerError
from amusd.serving.http_front import BODY_BYTES_MAX
from tests.serving.fakes import until
from tests.serving.posting import COMPLETIONS, ask, front


@pytest.mark.parametrize(
    ("content", "status", "param", "message"),
    [
        (b"{", 400, "body", "not JSON"),
        (b"", 400, "body", "not JSON"),
        (b"\xff\xfe", 400, "body", "not JSON"),
        (b"[]", 400, "body", "give a JSON object"),
        (b"[" * 200_000, 400, "body", "nested too deep"),
        (b'{"prompt": "a", "temperature": NaN}', 400, "body", "NaN is no JSON"),
        (b'{"prompt": "a", "temperature": 1e999}', 400, "temperature", "finite number"),
        (b'{"prompt": "a", "max_tokens": ' + b"9" * 5000 + b"}", 400, "body", "not JSON"),
        (b'{"prompt": "\\ud800"}', 400, "body", "half a character"),
        (b'{"prompt": "' + b"a" * (BODY_BYTES_MAX + 1) + b'"}', 413, "body", "more than"),
        ({"prompt": "a" * 1_000_000}, 400, "prompt", "1000000 characters"),
        ({"prompt": "def f(x):\n" * 40}, 400, "prompt", "tokens"),
        ({"prompt": "a", "model": "gpt-7"}, 404, "model", "this server has demo"),
        ({"model": "demo"}, 400, "prompt", "required"),
        ({"prompt": None}, 400, "prompt", "valid"),
        ({"prompt": ""}, 400, "prompt", "empty"),
        ({"prompt": []}, 400, "prompt", "at least one token"),
        ({"prompt": ["a", ""]}, 400, "prompt", "empty"),
        ({"prompt": {"a": 1}}, 400, "prompt", "valid"),
        ({"prompt": ["a", 3]}, 400, "prompt.1", "valid"),
        ({"prompt": [1, 2.5]}, 400, "prompt.1", "valid integer"),
        ({"prompt": [99999999]}, 400, "prompt", "token ids are 0 to"),
        ({"prompt": [-1]}, 400, "prompt", "token ids are 0 to"),
        ({"prompt": "a", "temperature": -1}, 400, "temperature", "0 (greedy) or more"),
        ({"prompt": "a", "temperature": "hot"}, 400, "temperature", "finite number"),
        ({"prompt": "a", "max_tokens": 0}, 400, "max_tokens", "1 or more"),
        ({"prompt": "a", "top_p": 2}, 400, "top_p", "at most 1"),
        ({"prompt": "a", "stop": ["x"] * 99}, 400, "stop", "at most"),
        ({"prompt": "a", "logit_bias": {"99999999": 1}}, 400, "logit_bias", "token ids are"),
        ({"prompt": "a", "logit_bias": {"x": 1}}, 400, "logit_bias", "map at most"),
        ({"prompt": "a", "tempo": 3}, 400, "tempo", "not supported"),
        ({"prompt": "a", "suffix": "b"}, 400, "suffix", "not supported"),
        ({"prompt": "a", "best_of": 2}, 400, "best_of", "not supported"),
        ({"prompt": "a", "n": 0}, 400, "n", "from 1 to"),
        ({"prompt": "a", "logprobs": 99}, 400, "logprobs", "from 0 to"),
        ({"prompt": "a", "logits_processors": []}, 400, "logits_processors", "not supported"),
        ({"prompt": "a", "echo": True, "logprobs": 1}, 400, "echo", "prompt_logprobs"),
        ({"prompt": "a", "stream": True, "prompt_logprobs": 1}, 400, "prompt_logprobs", "leave stream out"),
        ({"prompt": "a", "stream": "yes"}, 400, "stream", "valid boolean"),
        ({"prompt": "a", "stream_options": {"include_usage": True}}, 400, "stream_options", "only a stream"),
        ({"prompt": "a", "rule": "hub"}, 400, "rule", "give one of race, topk"),
        ({"prompt": "a", "rule": "rrs"}, 400, "rule", "ask for race or topk"),
        ({"prompt": "a", "speculative": "eagle"}, 400, "speculative", "give true or false"),
        (
            {"prompt": "a", "num_speculative_tokens": -1},
            400,
            "num_speculative_tokens",
            "0 (no drafts) or more",
        ),
        ({"prompt": "a", "priority": 0.5}, 400, "priority", "lower goes first"),
        ({"prompt": "a", "priority": 2**31}, 400, "priority", "lower goes first"),
        ({"prompt": "a", "deadline_seconds": 0}, 400, "deadline_seconds", "above 0"),
        (b'{"prompt": "a", "deadline_seconds": 1e999}', 400, "deadline_seconds", "finite"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_completion_is_refused_by_the_field_that_is_wrong(reader, content, status, param, message):
    found, body, coordinator = ask(reader, COMPLETIONS, content)
    assert found == status, body
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert message in error["message"]
    assert len(error["message"]) < 2000
    assert coordinator.asked == []


@pytest.mark.parametrize(
    ("content", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": "a"}], "prompt": "a"}, "prompt"),
        ({"messages": [{"role": "user", "content": "a"}], "tools": [{}]}, "tools"),
        ({"messages": [{"role": "user", "content": "a"}], "logprobs": 3}, "logprobs"),
        ({"messages": [{"role": "user", "content": "a"}], "top_logprobs": 3}, "top_logprobs"),
        ({"messages": [{"role": "user", "content": "a"}], "max_completion_tokens": 0}, "max_tokens"),
        (
            {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1, "max_completion_tokens": 2},
            "max_tokens",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_chat_is_refused_by_the_field_that_is_wrong(reader, content, param):
    status, body, _ = ask(reader, "/v1/chat/completions", content, template="{{ messages[0].content }}")
    assert status == 400, body
    assert body["error"]["param"].startswith(param.split(".")[0])


def test_a_chat_with_a_model_that_has_no_template_is_refused_with_the_remedy(reader):
    content = {"messages": [{"role": "user", "content": "a"}]}
    status, body, _ = ask(reader, "/v1/chat/completions", content)
    assert status == 400
    assert "has no chat template" in body["error"]["message"]


def test_a_template_that_refuses_a_conversation_is_heard(reader):
    content = {"messages": [{"role": "user", "content": "a"}]}
    template = "{{ raise_exception('no users here') }}"
    status, body, _ = ask(reader, "/v1/chat/completions", content, template=template)
    assert status == 400
    assert "no users here" in body["error"]["message"]


def test_a_stream_that_is_refused_has_the_status_of_the_refusal(reader):
    status, body, _ = ask(reader, COMPLETIONS, {"prompt": [10**8], "stream": True})
    assert (status, body["error"]["param"]) == (400, "prompt")


def test_an_engine_that_fails_under_a_stream_is_heard_in_the_stream(reader):
    async def post():
        async with front(reader) as (client, desk, coordinator):
            coordinator.hold.clear()
            content = {"prompt": "a", "stream": True}
            posting = asyncio.create_task(client.post(COMPLETIONS, json=content))
            await until(lambda: desk.running > 0)
            coordinator.error = WorkerError("the target is gone")
            coordinator.hold.set()
            return (await posting), desk.inside

    response, inside = asyncio.run(post())
    assert response.status_code == 500
    assert response.json()["error"]["message"] == "the target is gone"
    assert inside == 0


def test_more_than_may_wait_is_refused_with_429_and_those_inside_go_on(reader):
    async def scenario():
        async with front(reader, queue_max=1) as (client, desk, coordinator):
            coordinator.hold.clear()
            inside = [asyncio.create_task(client.post(COMPLETIONS, json={"prompt": "a"})) for _ in range(3)]
            await until(lambda: (desk.running, desk.waiting) == (2, 1))
            refused = await client.post(COMPLETIONS, json={"prompt": "a"})
            pair = await client.post(COMPLETIONS, json={"prompt": ["a", "b"]})
            coordinator.hold.set()
            return refused, pair, [response.status_code for response in await asyncio.gather(*inside)], desk

    refused, pair, statuses, desk = asyncio.run(scenario())
    assert refused.status_code == pair.status_code == 429
    assert refused.json()["error"]["code"] == "queue_full"
    assert refused.headers["retry-after"] == pair.headers["retry-after"] == "1"
    assert statuses == [200, 200, 200]
    assert desk.inside == desk.running == desk.waiting == 0


@pytest.mark.parametrize(
    ("took", "one", "two"),
    [((12.0,), "6", "12"), ((1.0, 1.0, 31.0), "2", "4"), ((0.01,), "1", "1"), ((600,), "60", "60")],
)
def test_who_is_refused_is_told_to_come_back_when_as_many_have_left_as_lack_room(reader, took, one, two):
    async def scenario():
        async with front(reader, queue_max=1) as (client, desk, coordinator):
            for seconds in took:
                desk.on_finished(seconds)
            coordinator.hold.clear()
            inside = [asyncio.create_task(client.post(COMPLETIONS, json={"prompt": "a"})) for _ in range(3)]
            await until(lambda: (desk.running, desk.waiting) == (2, 1))
            refused = [
                await client.post(COMPLETIONS, json={"prompt": prompt}) for prompt in ("a", ["a", "b"])
            ]
            coordinator.hold.set()
            await asyncio.gather(*inside)
            return refused

    for response, seconds in zip(asyncio.run(scenario()), (one, two), strict=True):
        assert response.headers["retry-after"] == seconds
        assert f"try again in {seconds} s" in response.json()["error"]["message"]


@pytest.mark.parametrize(("content", "param"), [({"n": 4}, "n"), ({"prompt": ["a"] * 4}, "prompt")])
def test_more_than_are_ever_let_in_are_told_so_and_not_to_come_back(reader, content, param):
    status, body, _ = ask(reader, COMPLETIONS, {"prompt": "a"} | content, queue_max=1)
    assert (status, body["error"]["param"]) == (400, param)
    assert "3 outputs can run or wait" in body["error"]["message"]


def test_a_server_that_starts_or_drains_says_so_with_503(reader):
    async def scenario(phase):
        async with front(reader, opened=phase != "starting") as (client, desk, coordinator):
            if phase == "draining":
                desk.close()
            health = await client.get("/health")
            return health, await client.post(COMPLETIONS, json={"prompt": "a"}), coordinator.asked

    for phase in ("starting", "draining"):
        health, refused, asked = asyncio.run(scenario(phase))
        assert (health.status_code, health.json()["status"]) == (503, phase)
        assert refused.status_code == 503
        assert phase in refused.json()["error"]["message"]
        assert asked == []
    assert [answer.status_code for answer in asyncio.run(scenario("ready"))[:2]] == [200, 200]


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer wrong", "Basic key", "Bearer keys"])
def test_a_caller_without_the_key_is_refused_everything_but_health_and_metrics(reader, header):
    async def scenario():
        async with front(reader, keys=("other", "key")) as (client, _, _):
            headers = {} if header is None else {"authorization": header}
            refused = [
                await client.get("/v1/models", headers=headers),
                await client.post(COMPLETIONS, json={"prompt": "a"}, headers=headers),
                await client.post("/tokenize", json={"prompt": "a"}, headers=headers),
            ]
            open_to_all = [await client.get(path, headers=headers) for path in ("/health", "/metrics")]
            let_in = await client.get("/v1/models", headers={"authorization": "Bearer key"})
            return refused, open_to_all, let_in

    refused, open_to_all, let_in = asyncio.run(scenario())
    assert {response.status_code for response in refused} == {401}
    assert {response.json()["error"]["code"] for response in refused} == {"invalid_api_key"}
    assert {response.status_code for response in open_to_all} == {200}
    assert let_in.status_code == 200


def test_unknown_paths_and_methods_are_refused_in_the_same_form(reader):
    async def scenario():
        async with front(reader) as (client, _, _):
            return await client.get("/v1/nothing"), await client.get(COMPLETIONS)

    missing, method = asyncio.run(scenario())
    assert (missing.status_code, method.status_code) == (404, 405)
    assert set(missing.json()["error"]) == {"message", "type", "param", "code"}


def test_a_request_id_in_use_is_refused(reader):
    async def scenario():
        async with front(reader) as (client, desk, coordinator):
            coordinator.hold.clear()
            headers = {"x-request-id": "same"}
            first = asyncio.create_task(client.post(COMPLETIONS, json={"prompt": "a"}, headers=headers))
            await until(lambda: desk.inside > 0)
            second = await client.post(COMPLETIONS, json={"prompt": "a"}, headers=headers)
            coordinator.hold.set()
            return (await first).status_code, second

    first, second = asyncio.run(scenario())
    assert first == 200
    assert (second.status_code, second.json()["error"]["param"]) == (400, "request_id")
