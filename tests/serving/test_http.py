"""What the HTTP side answers, on an engine that only counts."""

import asyncio
import json
import re

import pytest

from amusd.serving.metrics import ServerMetrics
from amusd.wishes import Wishes
from tests.serving.conftest import TEMPLATE
from tests.serving.posting import CHATS, COMPLETIONS, ask, ask_text, front


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
