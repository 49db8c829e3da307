"""A real server, asked by our own clients, and by some that leave."""

import asyncio
import contextlib
import os
import random
import time
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from amusd import (
    AbortedError,
    AccessError,
    AsyncClient,
    BusyError,
    Client,
    DeadlineError,
    InputError,
    SamplingParams,
    UnavailableError,
)
from amusd.hosting import GRPC_THREADS
from tests.serving.conftest import CORES, FREE_SECONDS_MAX, KEY, wait_until_free

GREEDY = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True)
LONG = SamplingParams(temperature=0, max_tokens=1500, ignore_eos=True)
PASSES_MAX = 3
ATTEMPTS_MAX = 5  # a pass takes milliseconds here, and so does whatever else the machine does


def test_many_prompts_come_back_in_their_order_with_the_bytes_of_the_target_alone(client, held_out):
    params = [SamplingParams(temperature=i % 2, seed=i, max_tokens=20 + i) for i in range(6)]
    together = client.generate(held_out[:6], params)
    apart = client.generate(held_out[:6], params, speculative=False)
    assert [output.prompt for output in together] == held_out[:6]
    assert [output.token_ids for output in together] == [output.token_ids for output in apart]
    assert [output.text for output in together] == [output.text for output in apart]
    assert sum(output.metrics.accepted for output in together) > 0
    assert together[0].metrics.overlap is None


def test_several_outputs_and_log_probabilities_come_over_as_an_engine_gives_them(client, held_out):
    params = SamplingParams(temperature=1, seed=3, n=2, max_tokens=12, logprobs=2, prompt_logprobs=0)
    [output] = client.generate(held_out[0], params)
    [alone] = client.generate(held_out[0], params, speculative=False)
    assert [each.token_ids for each in output.outputs] == [each.token_ids for each in alone.outputs]
    assert len({each.token_ids for each in output.outputs}) == 2
    assert [each.logprobs for each in output.outputs] == [each.logprobs for each in alone.outputs]
    assert [len(each.logprobs) for each in output.outputs] == [len(each.token_ids) for each in output.outputs]
    assert output.prompt_logprobs == alone.prompt_logprobs
    assert output.prompt_logprobs[0] is None
    assert output.cumulative_logprob == pytest.approx(
        sum(row[token].logprob for row, token in zip(output.logprobs, output.token_ids, strict=True))
    )
    streamed = list(client.stream(held_out[0], params))
    for index, each in enumerate(output.outputs):
        rows = [row for chunk in streamed if chunk.index == index for row in chunk.logprobs]
        assert rows == each.logprobs


def test_python_functions_are_refused_before_they_are_lost(client):
    params = SamplingParams(logits_processors=[lambda tokens, scores: scores])
    with pytest.raises(InputError, match=r"logits_processors: .*inprocess"):
        client.generate("a", params)


def test_a_stream_adds_up_to_the_output_that_generate_returns(client, held_out):
    [whole] = client.generate(held_out[2], GREEDY)
    chunks = list(client.stream(held_out[2], GREEDY))
    finished = chunks[-1].finished
    assert finished.token_ids == whole.token_ids
    assert "".join(chunk.text for chunk in chunks) == finished.text == whole.text
    assert any("accepted" in chunk.origins for chunk in chunks)


def trees(server):
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.get(f"{server.http}/v1/timeline", headers=headers).json()["trees"]


def test_the_tree_of_the_moment_is_told_while_a_request_is_decoded(server, client, held_out):
    found = []
    for _ in client.stream(held_out[2], SamplingParams(temperature=0, max_tokens=200, ignore_eos=True)):
        found += trees(server)
    guesses = max((tree["guesses"] for tree in found), key=len)
    assert guesses
    for _, parent, reach in guesses:
        assert 0 < reach <= (guesses[parent - 1][2] if parent else 1.0)
    assert trees(server) == []


def test_the_asynchronous_client_does_the_same(server, client, held_out):
    async def decode():
        async with AsyncClient(server.grpc, token=KEY) as made:
            streamed = [chunk async for chunk in made.stream(held_out[3], GREEDY)]
            outputs = await made.generate(held_out[3:5], GREEDY)
            return streamed, outputs, await made.info(), await made.chat_prompt("hi")

    streamed, outputs, info, tokens = asyncio.run(decode())
    assert streamed[-1].finished.token_ids == outputs[0].token_ids
    assert [o.token_ids for o in outputs] == [o.token_ids for o in client.generate(held_out[3:5], GREEDY)]
    assert (info["model"], info["rule"], info["exact"]) == ("demo", "race", "bytes")
    assert set(info["workers"]) == {"target", "draft 0"}
    assert tokens == client.chat_prompt("hi")


def test_a_refused_value_is_the_same_error_as_from_an_engine_of_one_s_own(client):
    with pytest.raises(InputError) as refused:
        client.generate([10**8], GREEDY)
    assert refused.value.field == "prompt"
    assert "token ids are 0 to" in refused.value.remedy
    with pytest.raises(InputError, match="prompt: ''"):
        client.generate("")


def test_a_stranger_is_refused(server):
    for token in (None, "wrong"):
        with Client(server.grpc, token=token) as stranger, pytest.raises(AccessError):
            stranger.info()


def test_a_server_that_is_not_there_is_unavailable_after_the_retries():
    with Client("127.0.0.1:1") as lost, pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1 cannot be"):
        lost.info()


def test_a_deadline_ends_the_request_in_both_workers(client):
    with pytest.raises(DeadlineError):
        client.generate("class A:", LONG, timeout_seconds=0.5)
    wait_until_free(client)


def test_a_stream_that_is_left_early_ends_in_both_workers(client):
    for chunk in client.stream("class A:", LONG):
        assert chunk.token_ids
        break
    wait_until_free(client)


@contextlib.contextmanager
def begun_stream(server, client, interface):
    """A long request of which a few chunks have come; its connection is closed in the end."""
    if interface == "grpc":
        with contextlib.closing(client.stream("class A:", LONG)) as chunks:
            yield [next(chunks) for _ in range(3)]
        return
    body = {"prompt": "class A:", "max_tokens": 1500, "temperature": 0, "ignore_eos": True, "stream": True}
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx.stream("POST", f"{server.http}/v1/completions", json=body, headers=headers) as response:
        lines = response.iter_lines()
        yield [next(lines) for _ in range(3)]


def passes_since(server, moment):
    """How many passes of the target began behind a moment of `time.monotonic()`."""
    asked = time.monotonic()
    tracks = httpx.get(f"{server.http}/v1/timeline", headers={"authorization": f"Bearer {KEY}"}).json()[
        "tracks"
    ]
    [slices] = [track["slices"] for track in tracks if track["name"] == "target"]
    return sum(name == "pass" and asked + start > moment for name, start, _ in slices)


@pytest.mark.parametrize("interface", ["grpc", "http"])
def test_a_request_costs_a_few_passes_at_most_behind_the_end_of_its_connection(server, client, interface):
    wait_until_free(client)
    found = []
    while len(found) < ATTEMPTS_MAX and min(found, default=PASSES_MAX + 1) > PASSES_MAX:
        with begun_stream(server, client, interface) as begun:
            assert len(begun) == 3
            left = time.monotonic()
        wait_until_free(client)
        found.append(passes_since(server, left))
    assert min(found) <= PASSES_MAX, found


def test_a_request_is_aborted_by_its_name_while_it_runs_and_while_it_waits(client):
    streams = [client.stream("class A:", LONG, request_id=f"mine-{i}") for i in range(4)]
    assert all(next(stream).token_ids for stream in streams)
    waiting = client.stream("class B:", LONG, request_id="waiting")
    with pytest.raises(InputError, match="request_id"):
        next(client.stream("class C:", LONG, request_id="mine-0"))
    assert not client.abort("nobody")
    assert client.abort("mine-0")
    with pytest.raises(AbortedError, match="mine-0"):
        list(streams[0])
    assert next(waiting).token_ids  # it got the place
    for name in ("mine-1", "mine-2", "mine-3", "waiting"):
        assert client.abort(name)
    wait_until_free(client)


def test_of_those_who_wait_the_lowest_priority_is_decoded_first(server, client):
    holding = [client.stream("class A:", LONG, request_id=f"held-{i}") for i in range(4)]
    assert all(next(stream).token_ids for stream in holding)

    async def wait():
        async with AsyncClient(server.grpc, token=KEY) as waiting:

            async def begin(name, **wishes):
                async with contextlib.aclosing(
                    waiting.stream("class B:", LONG, request_id=name, **wishes)
                ) as s:
                    async for _ in s:
                        return name

            tasks = []
            for name, priority in (("later", 1), ("as usual", 0), ("hurried", -1)):
                tasks.append(asyncio.create_task(begin(name, priority=priority)))
                while (await waiting.info())["waiting"] < len(tasks):  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.02)
            client.abort("held-0")
            return [await done for done in asyncio.as_completed(tasks)]  # who began leaves its place

    assert asyncio.run(wait()) == ["hurried", "as usual", "later"]
    for stream in holding[1:]:
        stream.close()
    wait_until_free(client)


def test_a_full_queue_refuses_and_what_is_inside_goes_on(server, client):
    with Client(server.grpc, token=KEY, retries=False) as impatient:
        streams = [impatient.stream("class A:", LONG) for _ in range(4)]
        assert all(next(stream).token_ids for stream in streams)

        async def fill():
            async with AsyncClient(server.grpc, token=KEY, retries=False) as many:
                waiting = [asyncio.create_task(many.generate("a", LONG)) for _ in range(12)]
                while (await many.info())["waiting"] < 12:  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.02)
                with pytest.raises(BusyError, match=r"try again in \d+ s") as refused:
                    await many.generate("a", GREEDY)
                assert 1 <= refused.value.retry_seconds <= 60
                for task in waiting:
                    task.cancel()

        asyncio.run(fill())
        assert next(streams[0]).token_ids
        for stream in streams:
            stream.close()
    wait_until_free(client)


def test_aborting_half_of_many_at_random_frees_everything_and_spares_the_others(server, client, held_out):
    wait_until_free(client)
    tasks_before = client.info()["tasks"]
    count, chosen = 16, random.Random(7)
    doomed = set(chosen.sample(range(count), count // 2))
    params = [SamplingParams(temperature=1, seed=i, max_tokens=60, ignore_eos=True) for i in range(count)]

    async def one(made, index):
        seen = []
        leave_at = chosen.randrange(0, 40)
        async for chunk in made.stream(held_out[index], params[index]):
            seen += chunk.token_ids
            if index in doomed and len(seen) > leave_at:
                return None
        return tuple(seen)

    async def all_of_them():
        async with AsyncClient(server.grpc, token=KEY) as made:
            return await asyncio.gather(*(one(made, index) for index in range(count)))

    found = asyncio.run(all_of_them())
    wait_until_free(client)
    assert client.info()["tasks"] <= tasks_before
    survivors = [index for index in range(count) if index not in doomed]
    prompts = [held_out[index] for index in survivors]
    alone = client.generate(prompts, [params[index] for index in survivors], speculative=False)
    assert [found[index] for index in survivors] == [output.token_ids for output in alone]


# -- watching ------------------------------------------------------------------------------------


@pytest.mark.skipif(len(CORES) == 1, reason="a single core is everybody's")
def test_grpcs_threads_keep_off_the_targets_core(server):
    found = [
        os.sched_getaffinity(int(task.name))
        for task in Path(f"/proc/{server.process.pid}/task").iterdir()
        if (task / "comm").read_text().startswith(GRPC_THREADS)
    ]
    assert found
    assert not [cores for cores in found if CORES[0] in cores]


def test_metrics_and_the_line_of_statistics_tell_of_the_speculation(server, client, held_out):
    before = client.info()["workers"]
    client.generate(held_out[:4], SamplingParams(temperature=0, max_tokens=150, ignore_eos=True))
    after = client.info()["workers"]
    assert after["target"]["node_price"] >= 0
    waits = after["target"]["draft_wait_ms"]
    assert waits and waits.keys() <= {"commit", "node"}
    assert all(0 < wait < 1000 for wait in waits.values())
    line = next(line for line in server.log if "statistics" in line and "useful_overlap" in line)
    assert "output_tokens_per_second=" in line
    until = time.monotonic() + FREE_SECONDS_MAX
    while True:
        text = httpx.get(f"{server.http}/metrics").text
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        if float(values['amusd:link_round_trip_seconds{model_name="demo",worker="draft 0"}']) > 0:
            break
        assert time.monotonic() < until
    model = '{model_name="demo"}'
    drafts = float(values[f"vllm:spec_decode_num_drafts_total{model}"])
    tokens = float(values[f"vllm:spec_decode_num_draft_tokens_total{model}"])
    accepted = float(values[f"vllm:spec_decode_num_accepted_tokens_total{model}"])
    at = [float(value) for name, value in values.items() if "accepted_tokens_per_pos_total" in name]
    assert 0 < drafts <= tokens
    assert 0 < accepted <= tokens
    assert sum(at) == accepted
    for worker, table, name in (("target", "pass_ms", "pass"), ("draft 0", "step_ms", "draft_step")):
        assert before[worker][table] != after[worker][table], "what was learned, not what was measured first"
        told = [float(value) for key, value in values.items() if key.startswith(f"amusd:{name}_seconds")]
        assert len(told) == len(after[worker][table])
        assert all(0 < seconds < 1 for seconds in told)


def test_health_is_told_over_grpc_too(server):
    with grpc.insecure_channel(server.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "amusd.rpc.v1.Inference"):
            reply = stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
