"""What the HTTP side answers, on an engine that only counts."""

import asyncio
import contextlib
import json
import re

import httpx
import pytest

from amusd.errors import WorkerError
from amusd.serving.desk import FrontDesk
from amusd.serving.http_front import BODY_BYTES_MAX, HttpFront
from amusd.serving.intake import Intake
from amusd.serving.metrics import ServerMetrics
from amusd.wishes import Wishes
from tests.serving.conftest import TEMPLATE
from tests.serving.fakes import FakeCoordinator, until


@contextlib.asynccontextmanager
async def front(reader, *, queue_max=2, keys=(), template=None, opened=True):
    """A client of an app over a fake coordinator, and the three."""
    desk = FrontDesk(2, queue_max, ServerMetrics("demo"))
    coordinator = FakeCoordinator(reader)
    if opened:
        desk.open(coordinator)
    reader.tokenizer.chat_template = None
    app = HttpFront(desk, Intake(reader, template), "demo", keys, created=1).app()
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client, desk, coordinator


def ask(reader, path, content, **options):
    """Status and body of one POST."""

    async def post():
        async with front(reader, **options) as (client, _, coordinator):
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            response = await client.post(path, content=body)
            return response.status_code, response.json(), coordinator

    return asyncio.run(post())


def ask_text(reader, content):
    """The same of a stream."""

    async def post():
        async with front(reader) as (client, _, coordinator):
            response = await client.post(COMPLETIONS, json=content)
            return response.status_code, response.text, coordinator

    return asyncio.run(post())


COMPLETIONS = "/v1/completions"
CHATS = "/v1/chat/completions"


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


def test_fields_that_ask_for_nothing_are_let_through_and_null_means_not_given(reader):
    content = {"prompt": "a", "n": 1, "logprobs": None, "suffix": None, "temperature": None, "stop": None}
    status, body, coordinator = ask(reader, COMPLETIONS, content)
    assert status == 200, body
    assert coordinator.asked[0][2].temperature == 1.0


def test_prompts_of_every_form_are_answered_each_in_its_place(reader):
    expected = ["def f", "class A"]
    tokens = [reader.read(text) for text in expected]
    forms = ["def f", ["def f"], tokens[0], tokens, expected]
    for form in forms:
        status, body, coordinator = ask(reader, COMPLETIONS, {"prompt": form, "max_tokens": 2, "echo": True})
        assert status == 200
        many = len(form) if form in (tokens, expected) else 1
        assert [choice["index"] for choice in body["choices"]] == list(range(many))
        for choice, text, asked in zip(body["choices"], expected, coordinator.asked, strict=False):
            assert choice["text"].startswith(text)
            assert asked[1] == reader.read(text)
        assert body["usage"]["completion_tokens"] == 2 * many


def test_several_outputs_of_several_prompts_each_have_their_place(reader):
    content = {"prompt": [[5], [50]], "n": 2, "max_tokens": 2, "temperature": 1}
    _, body, _ = ask(reader, COMPLETIONS, content, queue_max=4)
    assert [(c["index"], c["text"]) for c in body["choices"]] == [
        (0, " 6 7"),
        (1, " 6 7"),
        (2, " 51 52"),
        (3, " 51 52"),
    ]
    assert body["usage"] == {"prompt_tokens": 2, "completion_tokens": 8, "total_tokens": 10}


def test_log_probabilities_of_completions_have_openai_s_form(reader):
    _, body, _ = ask(
        reader, COMPLETIONS, {"prompt": [5], "logprobs": 1, "prompt_logprobs": 1, "max_tokens": 2}
    )
    [choice] = body["choices"]
    assert choice["logprobs"] == {
        "tokens": [" 6", " 7"],
        "token_logprobs": [-2.0, -2.0],
        "top_logprobs": [{" 6": -2.0, "<1>": -1.0}, {" 7": -2.0, "<1>": -1.0}],
        "text_offset": [0, 2],
    }
    assert choice["prompt_logprobs"][0] is None
    assert choice["prompt_logprobs"][1]["3"]["rank"] == 2


def test_log_probabilities_of_a_stream_go_on_where_the_text_does(reader):
    _, text, _ = ask_text(reader, {"prompt": [5], "logprobs": 0, "max_tokens": 2, "stream": True})
    pieces = [json.loads(line.removeprefix("data: ")) for line in text.split("\n\n")[:2]]
    assert [piece["choices"][0]["logprobs"]["text_offset"] for piece in pieces] == [[0], [2]]


@pytest.mark.parametrize(("top", "told"), [(0, []), (1, ["<1>"]), (3, ["<1>", " {}", "<3>"])])
def test_log_probabilities_of_chats_tell_as_many_of_the_likeliest_as_were_asked_for(reader, top, told):
    content = {"messages": [{"role": "user", "content": "a"}], "logprobs": True, "top_logprobs": top}
    _, body, _ = ask(reader, "/v1/chat/completions", content, template=TEMPLATE.read_text())
    for entry in body["choices"][0]["logprobs"]["content"]:
        likely = [each["token"] for each in entry["top_logprobs"]]
        assert likely == [text.format(entry["token"].strip()) for text in told]
        assert entry["bytes"] == list(entry["token"].encode())


def test_one_request_has_its_metrics_in_vllm_s_form_and_several_have_none(reader):
    _, body, _ = ask(reader, COMPLETIONS, {"prompt": "a"})
    assert body["metrics"]["speculative_decoding"]["num_draft_tokens"] == 4
    assert body["metrics"]["time_to_first_token_ms"] == 20
    _, body, _ = ask(reader, COMPLETIONS, {"prompt": ["a", "b"]})
    assert body["metrics"] is None


WISHES = {"speculative": False, "num_speculative_tokens": 3, "priority": -2, "deadline_seconds": 1.5}


@pytest.mark.parametrize(
    ("path", "content"),
    [(COMPLETIONS, {"prompt": "a"}), (CHATS, {"messages": [{"role": "user", "content": "a"}]})],
)
def test_the_wishes_of_a_request_go_with_it_and_null_is_none(reader, path, content):
    template = TEMPLATE.read_text()
    _, _, coordinator = ask(reader, path, content | WISHES, template=template)
    assert coordinator.asked[0][3] == Wishes(**WISHES)
    _, _, coordinator = ask(reader, path, content | dict.fromkeys(WISHES), template=template)
    assert coordinator.asked[0][3] == Wishes()


def test_a_chat_may_be_as_long_as_there_is_room_unless_it_says_how_long(reader):
    content = {"messages": [{"role": "user", "content": "a"}]}
    template = TEMPLATE.read_text()
    _, _, coordinator = ask(reader, "/v1/chat/completions", content, template=template)
    _, tokens, params, _ = coordinator.asked[0]
    assert params.max_tokens is None
    assert reader.tokenizer.decode(tokens) == "<user>a\n<assistant>"
    for name in ("max_tokens", "max_completion_tokens"):
        _, _, coordinator = ask(reader, "/v1/chat/completions", content | {name: 3}, template=template)
        assert coordinator.asked[0][2].max_tokens == 3


def test_text_parts_of_a_message_are_one_text(reader):
    parts = [{"type": "text", "text": "de"}, {"type": "text", "text": "f"}]
    content = {"messages": [{"role": "user", "content": parts}]}
    _, _, coordinator = ask(reader, "/v1/chat/completions", content, template=TEMPLATE.read_text())
    assert reader.tokenizer.decode(coordinator.asked[0][1]) == "<user>def\n<assistant>"


def test_tokenize_and_detokenize_are_inverse(reader):
    status, body, _ = ask(reader, "/tokenize", {"prompt": "def add(a, b):"})
    assert status == 200
    assert body["count"] == len(body["tokens"])
    status, back, _ = ask(reader, "/detokenize", {"tokens": body["tokens"]})
    assert back == {"prompt": "def add(a, b):"}
    assert ask(reader, "/detokenize", {"tokens": [10**9]})[0] == 400
    assert ask(reader, "/tokenize", {})[0] == 400


def test_a_stream_is_one_event_a_commit_then_usage_then_the_end_mark(reader):
    async def post():
        async with front(reader) as (client, desk, _):
            content = {
                "prompt": "a",
                "stream": True,
                "max_tokens": 3,
                "stream_options": {"include_usage": True},
            }
            response = await client.post(COMPLETIONS, json=content, headers={"x-request-id": "mine"})
            return response, desk.inside

    response, inside = asyncio.run(post())
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-request-id"] == "mine"
    events = [event.removeprefix("data: ") for event in response.text.strip().split("\n\n")]
    assert events[-1] == "[DONE]"
    pieces = [json.loads(event) for event in events[:-1]]
    assert [len(piece["choices"]) for piece in pieces] == [1, 1, 1, 0]
    assert pieces[-1]["usage"]["completion_tokens"] == 3
    assert {piece["id"] for piece in pieces} == {"cmpl-mine"}
    assert inside == 0


def test_the_pieces_of_a_stream_have_the_usage_so_far_where_that_is_asked_for(reader):
    async def post(**options):
        async with front(reader) as (client, _, _):
            content = {
                "prompt": [[1, 2], [3, 4, 5]],
                "stream": True,
                "max_tokens": 3,
                "stream_options": options,
            }
            response = await client.post(COMPLETIONS, json=content)
        events = [event.removeprefix("data: ") for event in response.text.strip().split("\n\n")]
        return [json.loads(event) for event in events[:-1]]

    *pieces, last = asyncio.run(post(include_usage=True, continuous_usage_stats=True))
    for place, prompt in enumerate((2, 3)):
        found = [piece["usage"] for piece in pieces if piece["choices"][0]["index"] == place]
        assert [counts["completion_tokens"] for counts in found] == [1, 2, 3]
        assert {counts["prompt_tokens"] for counts in found} == {prompt}
    assert last["usage"] == {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}
    for options in ({"continuous_usage_stats": True}, {"include_usage": True}):
        assert not any(piece.get("usage") for piece in asyncio.run(post(**options)) if piece["choices"])


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


def test_metrics_count_what_happened_under_vllm_s_names_or_our_own(reader):
    async def scenario(**options):
        async with front(reader) as (client, desk, _):
            desk.metrics = ServerMetrics("demo", **options)
            await client.post(COMPLETIONS, json={"prompt": "def f", "max_tokens": 3})
            await client.post(COMPLETIONS, json={"prompt": [10**8]})
            return (await client.get("/metrics")).text

    text = asyncio.run(scenario())
    for line in (
        'vllm:generation_tokens_total{model_name="demo"} 3.0',
        'vllm:spec_decode_num_draft_tokens_total{model_name="demo"} 4.0',
        'vllm:spec_decode_num_accepted_tokens_per_pos_total{model_name="demo",position="1"} 1.0',
        'vllm:inter_token_latency_seconds_count{model_name="demo"} 2.0',
        'vllm:time_to_first_token_seconds_count{model_name="demo"} 1.0',
        'amusd:rollbacks_total{model_name="demo"} 1.0',
        'vllm:num_preemptions_total{model_name="demo"} ',
        'amusd:requests_refused_total{model_name="demo",reason="InputError"} 1.0',
    ):
        assert line in text
    assert "vllm:" not in asyncio.run(scenario(vllm_names=False))


def test_the_page_needs_nothing_from_elsewhere_and_asks_for_what_there_is(reader):
    async def scenario():
        async with front(reader, keys=("key",)) as (client, _, _):
            page = await client.get("/")
            described = (await client.get("/openapi.json")).json()
            return page, described

    page, described = asyncio.run(scenario())
    assert page.headers["content-type"].startswith("text/html")
    assert "://" not in page.text
    asked = set(re.findall(r'fetch\("([^"]+)"', page.text))
    assert {f"/{path}" for path in asked} <= described["paths"].keys()


def test_pieces_of_a_stream_tell_who_wrote_them_where_that_is_asked_for(reader):
    _, text, _ = ask_text(reader, {"prompt": [5], "max_tokens": 1, "stream": True, "spans": True})
    piece = json.loads(text.split("\n\n")[0].removeprefix("data: "))
    assert piece["choices"][0]["spans"] == [[" 6", "own"]]
    assert ask(reader, COMPLETIONS, {"prompt": [5], "spans": True})[1]["error"]["param"] == "spans"


def test_the_timeline_tells_slices_of_the_last_seconds(reader):
    async def scenario():
        async with front(reader) as (client, _, _):
            return (await client.get("/v1/timeline")).json()

    found = asyncio.run(scenario())
    [target, draft] = found["tracks"]
    assert (target["name"], draft["name"]) == ("target", "draft 0")
    [[name, start, end]] = target["slices"]
    assert name == "pass"
    assert -found["seconds"] <= start < end <= 0


def test_the_timeline_tells_the_trees_of_the_moment(reader):
    async def scenario():
        async with front(reader) as (client, _, _):
            return (await client.get("/v1/timeline")).json()["trees"]

    text = reader.tokenizer.decode
    assert asyncio.run(scenario()) == [
        {"text": text([5]), "guesses": [[text([6]), 0, 0.5], [text([7]), 1, 0.25]]}
    ]
