"""The commands: their options, their help, and whom they call.

Nothing heavy is imported before a command needs it, so that `--help` and usage errors come at once.
A command's `locals()`, taken first, are what it was given.
"""

from importlib import import_module
from typing import Annotated

import typer

from amusd import __version__
from amusd.cli import (
    batch_options,
    bench_options,
    chat_options,
    options,
    serve_options,
    simulation_options,
    worker,
)
from amusd.errors import AmusdError

app = typer.Typer(
    name="amusd",
    help="Write what a large model would write, faster: a small draft model runs ahead on another device.",
    epilog="Start with [bold]amusd generate 'def fibonacci(n):'[/bold], or check the machine with [bold]amusd"
    " doctor[/bold].",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"amusd {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of the program itself; `--version` acts in its callback."""


@app.command(
    epilog="""[bold]Examples[/bold]
amusd generate 'def fibonacci(n):' --temperature 0
amusd generate --prompt-file notes.txt --mode alone --max-tokens 64
cat notes.txt | amusd generate --seed 7 --json > result.json
amusd generate 'class Stack:' --target-devices cpu:0 --draft-devices cpu:1
amusd generate 'Hello' --chat --target Qwen/Qwen3-8B --draft Qwen/Qwen3-0.6B"""
)
def generate(
    prompt: options.Prompt = None,
    prompt_file: options.PromptFile = None,
    chat: options.Chat = False,
    target: options.Target = None,
    draft: options.Draft = None,
    widen: options.Widen = None,
    dtype: options.DType = None,
    revision: options.Revision = None,
    draft_revision: options.DraftRevision = None,
    trust_remote_code: options.TrustRemoteCode = False,
    target_devices: options.TargetDevices = None,
    draft_devices: options.DraftDevices = None,
    launcher: options.Launcher = None,
    share_gpu: options.ShareGpu = False,
    ray_address: options.RayAddress = None,
    target_address: options.TargetAddress = None,
    draft_address: options.DraftAddress = None,
    mode: options.Mode = None,
    verify: options.Verify = None,
    policy: options.Policy = None,
    policy_table: options.PolicyTable = None,
    rule: options.Rule = None,
    num_speculative_tokens: options.NumSpeculativeTokens = None,
    max_model_len: options.MaxModelLen = None,
    max_requests: options.MaxRequests = None,
    kv_cache_memory_bytes: options.KvCacheMemoryBytes = None,
    prefill_stall_ms: options.PrefillStallMs = None,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    min_p: options.MinP = None,
    typical_p: options.TypicalP = None,
    seed: options.Seed = None,
    repetition_penalty: options.RepetitionPenalty = None,
    presence_penalty: options.PresencePenalty = None,
    frequency_penalty: options.FrequencyPenalty = None,
    bad_words: options.BadWords = None,
    max_tokens: options.MaxTokens = 256,
    min_tokens: options.MinTokens = None,
    stop: options.Stop = None,
    include_stop_str_in_output: options.IncludeStop = False,
    ignore_eos: options.IgnoreEos = False,
    n: options.Sequences = None,
    logprobs: options.Logprobs = None,
    json: options.Json = False,
    trace: options.Trace = None,
    debug: options.Debug = False,
) -> None:
    """Continue a prompt with the target's own text.

    In a terminal it streams, accepted draft tokens green, the target's own bold, cyan where a branch
    held them already.
    Elsewhere the text goes to the standard output, the summary to standard error.
    """
    given = locals()
    from amusd.cli import inputs

    job = inputs.Job(
        prompt=inputs.read_prompt(prompt, prompt_file),
        chat=chat,
        engine=inputs.read_engine(given),
        params=inputs.read_sampling(given),
        as_json=json,
        trace=inputs.check_writable("--trace", trace),
    )
    from amusd.cli.generate import run

    run(job)


@app.command(
    epilog="""[bold]Input[/bold], one object a line, of which only a prompt is needed
{"id": "a", "prompt": "def f(x):", "params": {"max_tokens": 64, "temperature": 0}}
{"messages": [{"role": "user", "content": "Hello"}]}
{"prompt": "import os", "priority": -1, "deadline_seconds": 30, "num_speculative_tokens": 3}

[bold]Examples[/bold]
amusd batch prompts.jsonl results.jsonl --max-tokens 128 --seed 7
ray job submit --working-dir . -- python -m amusd batch prompts.jsonl /shared/results.jsonl"""
)
def batch(
    source: batch_options.Source,
    destination: batch_options.Destination,
    target: options.Target = None,
    draft: options.Draft = None,
    widen: options.Widen = None,
    dtype: options.DType = None,
    revision: options.Revision = None,
    draft_revision: options.DraftRevision = None,
    trust_remote_code: options.TrustRemoteCode = False,
    target_devices: options.TargetDevices = None,
    draft_devices: options.DraftDevices = None,
    launcher: options.Launcher = None,
    share_gpu: options.ShareGpu = False,
    ray_address: options.RayAddress = None,
    target_address: options.TargetAddress = None,
    draft_address: options.DraftAddress = None,
    mode: options.Mode = None,
    verify: options.Verify = None,
    policy: options.Policy = None,
    policy_table: options.PolicyTable = None,
    rule: options.Rule = None,
    num_speculative_tokens: options.NumSpeculativeTokens = None,
    max_model_len: options.MaxModelLen = None,
    max_requests: options.MaxRequests = None,
    kv_cache_memory_bytes: options.KvCacheMemoryBytes = None,
    prefill_stall_ms: options.PrefillStallMs = None,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    min_p: options.MinP = None,
    seed: options.Seed = None,
    max_tokens: options.MaxTokens = 256,
    stop: options.Stop = None,
    ignore_eos: options.IgnoreEos = False,
    n: options.Sequences = None,
    json: batch_options.BatchJson = False,
    debug: options.Debug = False,
) -> None:
    """Decode a file of prompts into a file of results, in the same order.

    All lines are checked before anything starts. Run again, it goes on behind the results that are there.
    A line's own params win over the options here. The report comes at the end, progress on standard error.
    """
    given = locals()
    from amusd.cli import inputs

    engine, params = inputs.read_engine(given), inputs.read_sampling(given)
    inputs.check_writable("output", destination)
    from amusd.cli.batch import BatchJob, run

    run(BatchJob(source, destination, engine, params, json))


@app.command(
    epilog="""[bold]Examples[/bold]
amusd serve --launcher local
amusd serve --target Qwen/Qwen3-8B --draft Qwen/Qwen3-0.6B --host 0.0.0.0 --api-key SECRET
amusd serve --config serve.yaml --max-queue 200
AMUSD_PORT=9000 amusd serve --speculative-config '{"model": "demo-large", "num_speculative_tokens": 5}'"""
)
def serve(
    config: serve_options.ConfigFile = None,
    host: serve_options.Host = None,
    port: serve_options.Port = None,
    grpc_port: serve_options.GrpcPort = None,
    served_model_name: serve_options.ServedModelName = None,
    api_key: serve_options.ApiKey = None,
    ssl_certfile: serve_options.SslCertfile = None,
    ssl_keyfile: serve_options.SslKeyfile = None,
    chat_template: serve_options.ChatTemplate = None,
    max_queue: serve_options.MaxQueue = None,
    drain_seconds: serve_options.DrainSeconds = None,
    target: options.Target = None,
    draft: options.Draft = None,
    widen: options.Widen = None,
    dtype: options.DType = None,
    revision: options.Revision = None,
    draft_revision: options.DraftRevision = None,
    trust_remote_code: options.TrustRemoteCode = False,
    target_devices: options.TargetDevices = None,
    draft_devices: options.DraftDevices = None,
    share_gpu: options.ShareGpu = False,
    launcher: options.Launcher = None,
    ray_address: options.RayAddress = None,
    target_address: options.TargetAddress = None,
    draft_address: options.DraftAddress = None,
    mode: options.Mode = None,
    verify: options.Verify = None,
    policy: options.Policy = None,
    policy_table: options.PolicyTable = None,
    rule: options.Rule = None,
    num_speculative_tokens: options.NumSpeculativeTokens = None,
    speculative_config: serve_options.SpeculativeConfig = None,
    max_model_len: options.MaxModelLen = None,
    max_requests: options.MaxRequests = None,
    kv_cache_memory_bytes: options.KvCacheMemoryBytes = None,
    prefill_stall_ms: options.PrefillStallMs = None,
    statistics_seconds: serve_options.StatisticsSeconds = None,
    vllm_metrics: serve_options.VllmMetrics = None,
    log_format: serve_options.LogFormat = None,
    debug: options.Debug = False,
) -> None:
    """Serve the target's text over gRPC and an OpenAI-compatible HTTP interface.

    Each option is also a key of the YAML file and an environment variable: AMUSD_MAX_QUEUE is --max-queue.
    SIGTERM drains: no new requests, live ones may finish. Python: amusd.Client("host:8001").
    """
    flags = locals()
    del flags["config"]
    from amusd.cli.inputs import drop_absent
    from amusd.cli.serving import run_server

    given = drop_absent(flags)
    if vllm_metrics is False:  # given as --no-vllm-metrics; other switches are off unless given
        given["vllm_metrics"] = False
    run_server(given, config)


@app.command(
    epilog="""[bold]Examples[/bold]
amusd chat
amusd chat localhost:8001 --api-key SECRET --temperature 0.7
echo 'def fibonacci(n):' | amusd chat --max-tokens 64 --system 'Write Python.'"""
)
def chat(
    address: chat_options.Address = "127.0.0.1:8001",
    system: chat_options.System = None,
    api_key: chat_options.Key = None,
    tls: chat_options.Tls = None,
    max_tokens: options.MaxTokens = 256,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    min_p: options.MinP = None,
    seed: options.Seed = None,
    stop: options.Stop = None,
    priority: chat_options.Priority = None,
    deadline_seconds: chat_options.DeadlineSeconds = None,
    num_speculative_tokens: chat_options.Cap = None,
    debug: options.Debug = False,
) -> None:
    """Talk to a server in the terminal.

    ADDRESS is that of the server's gRPC side. The conversation goes through the server's chat template.
    """
    given = locals()
    from amusd.cli import inputs

    params, wishes = inputs.read_sampling(given), inputs.read_wishes(given)
    from amusd.cli.chat import run

    run(address, api_key, tls, params, system, wishes)


@app.command()
def doctor(
    target: options.Target = None,
    draft: options.Draft = None,
    target_devices: options.TargetDevices = None,
    draft_devices: options.DraftDevices = None,
    launcher: options.Launcher = None,
    share_gpu: options.ShareGpu = False,
    ray_address: options.RayAddress = None,
    dtype: options.DType = None,
    debug: options.Debug = False,
) -> None:
    """Check this machine and a pair of models.

    Prints versions, devices, whether the two tokenizers agree, round-trip times,
    and the self-check of each device. Exits with 1 when something is wrong.
    """
    given = locals()
    from amusd.cli import inputs

    engine = inputs.read_engine(given)
    from amusd.cli.doctor import run

    raise typer.Exit(run(engine))


@app.command(
    epilog="""[bold]Examples[/bold]
amusd simulate --list
amusd simulate --scenario two-cores --set mode=sync --out run
amusd simulate --scenario llama-70b-8b --sweep network.latency_ms=0.05,0.5,2,20 --sweep mode=sync,async
amusd simulate --scenario mine.yaml --set drafters.acceptance.rate=0.9 --seed 7 --json
amusd simulate --load --scenario load-70b-8b --out run"""
)
def simulate(
    scenario: simulation_options.ScenarioName = None,
    list_scenarios: simulation_options.ListScenarios = False,
    load: simulation_options.LoadToo = False,
    settings: simulation_options.Settings = None,
    sweep: simulation_options.Sweep = None,
    repeats: simulation_options.Repeats = None,
    seed: simulation_options.SimulationSeed = None,
    out: simulation_options.Out = None,
    json: simulation_options.SimulationJson = False,
    debug: options.Debug = False,
) -> None:
    """Say what a pair of models does on hardware that is not at hand.

    Drives the real protocol and the real policies on a virtual clock, with cost curves, an acceptance
    law and a network latency from a scenario. The same seed gives the same run.
    """
    from amusd.cli import simulation

    if list_scenarios:
        simulation.list_scenarios()
        return
    if load:
        from amusd.cli import load_simulation

        load_simulation.refuse({"--sweep": sweep, "--repeats": repeats})
        load_simulation.run(scenario, seed=seed, settings=settings or (), folder=out, as_json=json)
        return
    simulation.run(
        scenario,
        seed=seed,
        settings=settings or (),
        axes=sweep or (),
        repeats=repeats,
        folder=out,
        as_json=json,
    )


@app.command(
    epilog="""[bold]Examples[/bold]
amusd bench --quick
amusd bench --out results --repeats 5
amusd bench --contenders transformers,alone,async --temperatures 0 --draft demo-small
amusd bench --target-devices cpu:0 --draft-devices cpu:1 --prompts question.jsonl
amusd bench --show results/results.json
amusd bench --load --rates 0.5,2,8 --out results
amusd bench --load --profile --target Qwen/Qwen3-8B --draft Qwen/Qwen3-0.6B --out results"""
)
def bench(
    quick: bench_options.Quick = False,
    contenders: bench_options.Contenders = None,
    temperatures: bench_options.Temperatures = None,
    ks: bench_options.Ks = None,
    prompts: bench_options.Prompts = None,
    num_prompts: bench_options.NumPrompts = None,
    max_tokens: bench_options.BenchTokens = None,
    repeats: bench_options.Repeats = None,
    seed: bench_options.OrderSeed = None,
    target: options.Target = None,
    draft: bench_options.Drafts = None,
    widen: bench_options.BenchWiden = None,
    dtype: options.DType = None,
    target_devices: options.TargetDevices = None,
    draft_devices: options.DraftDevice = None,
    load: bench_options.Load = False,
    rates: bench_options.Rates = None,
    requests: bench_options.Requests = None,
    arrivals: bench_options.ArrivalKind = None,
    seconds: bench_options.Seconds = None,
    max_requests: bench_options.LoadRequests = None,
    live: bench_options.Live = None,
    hold_seconds: bench_options.HoldSeconds = None,
    policy_table: bench_options.BenchTable = None,
    profile: bench_options.Profile = False,
    out: bench_options.Out = None,
    show: bench_options.ShowAgain = None,
    debug: bench_options.Tracebacks = False,
) -> None:
    """Measure against everything that you could use instead.

    All contenders decode the same prompts with the same models, one after the other in rotated order:
    transformers' generate alone and assisted, on the target's devices and on all; llama.cpp where it is
    installed; and every mode of amusd. The tables end with what the measured costs and acceptance allow.
    Each metric's formula is in benchmarks/README.md. With --load, requests arrive at several rates at a
    server that decodes many at a time. Exits with 1 when a mode of amusd wrote another text than the target
    alone.
    """
    given = locals()
    from amusd.cli import inputs

    if show is None:
        settings = inputs.read_load(given) if load else inputs.read_bench(given)
    try:
        command = import_module("amusd.cli.load_bench" if load else "amusd.cli.bench")
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise AmusdError("bench: matplotlib is not installed; pip install 'amusd[bench]'") from None
    if show is not None:
        raise typer.Exit(command.show_again(show))
    raise typer.Exit(command.run_profile(settings) if profile else command.run(settings))


@app.command(
    add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def coordinator(context: typer.Context) -> None:
    """Serve with workers that were started elsewhere: amusd serve --launcher attached, with its options."""
    app(["serve", "--launcher", "attached", *context.args], prog_name="amusd", standalone_mode=False)


app.add_typer(worker.app, name="worker")
