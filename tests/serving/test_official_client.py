"""A real server, asked by OpenAI's own client."""

import httpx
import openai
import pytest

from amusd import SamplingParams
from tests.serving.conftest import KEY, held, wait_until_free

GREEDY = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True)


@pytest.fixture(scope="module")
def official(server):
    with openai.OpenAI(base_url=f"{server.http}/v1", api_key=KEY) as made:
        yield made


def test_completions_of_the_official_client_are_the_target_s_own_text(official, client, held_out):
    [alone] = client.generate(held_out[0], GREEDY, speculative=False)
    answer = official.completions.create(
        model="demo", prompt=held_out[0], max_tokens=40, temperature=0, extra_body={"ignore_eos": True}
    )
    assert answer.choices[0].text == alone.text
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 40
    assert (alone.metrics.drafted, alone.metrics.drafters) == (0, ()), "looked-up nodes are drafts too"
    assert answer.metrics["speculative_decoding"]["num_draft_tokens"] > 0


def test_a_stream_of_the_official_client_adds_up_to_the_same_text(official, client, held_out):
    params = SamplingParams(temperature=0.8, seed=5, max_tokens=40)
    [alone] = client.generate(held_out[1], params, speculative=False)
    stream = official.completions.create(
        model="demo",
        prompt=held_out[1],
        max_tokens=40,
        temperature=0.8,
        seed=5,
        stream=True,
        stream_options={"include_usage": True},
    )
    *pieces, last = list(stream)
    assert "".join(piece.choices[0].text for piece in pieces) == alone.text
    assert pieces[-1].choices[0].finish_reason == alone.finish_reason
    assert last.choices == []
    assert last.usage.completion_tokens == len(alone.token_ids)


@pytest.mark.parametrize("streamed", [False, True])
def test_chat_of_the_official_client_goes_through_the_template(official, client, streamed):
    messages = [{"role": "system", "content": "Write code."}, {"role": "user", "content": "def add(a, b):"}]
    prompt = client.chat_prompt(messages)
    [alone] = client.generate(prompt, GREEDY, speculative=False)
    answer = official.chat.completions.create(
        model="demo",
        messages=messages,
        max_completion_tokens=40,
        temperature=0,
        stream=streamed,
        extra_body={"ignore_eos": True},
    )
    if streamed:
        deltas = [piece.choices[0].delta for piece in answer]
        assert deltas[0].role == "assistant"
        text = "".join(delta.content or "" for delta in deltas)
    else:
        text = answer.choices[0].message.content
        assert answer.usage.prompt_tokens == len(prompt)
    assert text == alone.text


def test_the_official_client_s_errors_are_the_kinds_that_its_users_catch(official, server):
    assert [model.id for model in official.models.list()] == ["demo"]
    assert official.models.retrieve("demo").id == "demo"
    with pytest.raises(openai.NotFoundError):
        official.completions.create(model="gpt-7", prompt="a")
    with pytest.raises(openai.BadRequestError) as refused:
        official.completions.create(model="demo", prompt="a", temperature=-1)
    assert refused.value.param == "temperature"
    with (
        openai.OpenAI(base_url=f"{server.http}/v1", api_key="wrong") as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()


def test_a_timeout_of_the_official_client_ends_the_request_in_both_workers(official, client):
    with pytest.raises(openai.APITimeoutError):
        official.with_options(timeout=0.5, max_retries=0).completions.create(
            model="demo", prompt="class A:", max_tokens=1500, extra_body={"ignore_eos": True}
        )
    wait_until_free(client)


def test_a_stream_of_events_that_is_left_early_ends_in_both_workers(server, client):
    body = {"prompt": "class A:", "max_tokens": 1500, "temperature": 0, "ignore_eos": True, "stream": True}
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx.stream("POST", f"{server.http}/v1/completions", json=body, headers=headers) as response:
        lines = response.iter_lines()  # kept: the stream ends with it
        assert next(lines).startswith("data: ")
        assert held(client)["target requests"] == 1
    wait_until_free(client)
