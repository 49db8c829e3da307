"""The commands, and what becomes of their errors: one line on stderr and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 143 terminated. Nothing heavy is imported
before a command needs it, so that `--help` and usage errors come at once.
"""

import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer

from amusd import __version__
from amusd.cli import bench_options, chat_options, options, serve_options, simulation_options
from amusd.errors import AmusdError, InputError

COMMANDS = ("generate", "serve", "chat", "doctor", "simulate", "bench")
EXIT_FAILURE, EXIT_USAGE, EXIT_TERMINATED = 1, 2, 143

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
    mode: options.Mode = None,
    verify: options.Verify = None,
    rule: options.Rule = None,
    num_speculative_tokens: options.NumSpeculativeTokens = None,
    max_model_len: options.MaxModelLen = None,
    max_requests: options.MaxRequests = None,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    min_p: options.MinP = None,
    typical_p: options.TypicalP = None,
    seed: options.Seed = None,
    repetition_penalty: options.RepetitionPenalty = None,
    presence_penalty: options.PresencePenalty = None,
    frequency_penalty: options.FrequencyPenalty = None,
    bad_word: options.BadWord = None,
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

    In a terminal it streams, accepted draft tokens green, the target's own bold.
    Elsewhere the text goes to the standard output, the summary to standard error.
    """
    from amusd.cli import inputs

    job = inputs.Job(
        prompt=inputs.read_prompt(prompt, prompt_file),
        chat=chat,
        engine=inputs.read_engine(
            target=target,
            draft=draft,
            widen=widen,
            dtype=dtype,
            revision=revision,
            draft_revision=draft_revision,
            trust_remote_code=trust_remote_code,
            target_devices=target_devices,
            draft_devices=draft_devices,
            launcher=launcher,
            share_gpu=share_gpu,
            ray_address=ray_address,
            mode=mode,
            verify=verify,
            rule=rule,
            num_speculative_tokens=num_speculative_tokens,
            max_model_len=max_model_len,
            max_requests=max_requests,
            debug=debug,
        ),
        params=inputs.read_sampling(
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            typical_p=typical_p,
            seed=seed,
            repetition_penalty=repetition_penalty,
            presence_penalty=presence_penalty,
            frequency_penalty=frequency_penalty,
            bad_words=bad_word or None,
            min_tokens=min_tokens,
            stop=stop or None,
            include_stop_str_in_output=include_stop_str_in_output,
            ignore_eos=ignore_eos,
            n=n,
            logprobs=logprobs,
        ),
        as_json=json,
        trace=inputs.check_writable("--trace", trace),
    )
    from amusd.cli.generate import run

    run(job)


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
    mode: options.Mode = None,
    verify: options.Verify = None,
    rule: options.Rule = None,
    num_speculative_tokens: options.NumSpeculativeTokens = None,
    speculative_config: serve_options.SpeculativeConfig = None,
    max_model_len: options.MaxModelLen = None,
    max_requests: options.MaxRequests = None,
    statistics_seconds: serve_options.StatisticsSeconds = None,
    vllm_metrics: serve_options.VllmMetrics = None,
    log_format: serve_options.LogFormat = None,
    debug: options.Debug = False,
) -> None:
    """Serve the target's text over gRPC and an OpenAI-compatible HTTP interface.

    Each option is also a key of the YAML file and an environment variable: AMUSD_MAX_QUEUE is --max-queue.
    SIGTERM drains: no new requests, live ones may finish. Python: amusd.Client("host:8001").
    """
    from amusd.cli.serving import run_server

    flags = {
        "host": host,
        "port": port,
        "grpc_port": grpc_port,
        "served_model_name": served_model_name,
        "api_key": tuple(api_key) if api_key else None,
        "ssl_certfile": ssl_certfile,
        "ssl_keyfile": ssl_keyfile,
        "chat_template": chat_template,
        "max_queue": max_queue,
        "drain_seconds": drain_seconds,
        "target": target,
        "draft": draft or None,
        "widen": widen,
        "dtype": dtype,
        "revision": revision,
        "draft_revision": draft_revision,
        "trust_remote_code": trust_remote_code or None,
        "target_devices": target_devices,
        "draft_devices": draft_devices or None,
        "share_gpu": share_gpu or None,
        "launcher": launcher,
        "ray_address": ray_address,
        "mode": mode,
        "verify": verify,
        "rule": rule,
        "num_speculative_tokens": num_speculative_tokens,
        "speculative_config": speculative_config,
        "max_model_len": max_model_len,
        "max_requests": max_requests,
        "statistics_seconds": statistics_seconds,
        "vllm_metrics": vllm_metrics,
        "log_format": log_format,
        "debug": debug or None,
    }
    run_server({name: value for name, value in flags.items() if value is not None}, config)


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
    debug: options.Debug = False,
) -> None:
    """Talk to a server in the terminal.

    ADDRESS is that of the server's gRPC side. The conversation goes through the server's chat template.
    """
    from amusd.cli import inputs

    params = inputs.read_sampling(
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        seed=seed,
        stop=stop or None,
    )
    from amusd.cli.chat import run

    run(address, api_key, tls, params, system)


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
    from amusd.cli import inputs

    engine = inputs.read_engine(
        target=target,
        draft=draft,
        target_devices=target_devices,
        draft_devices=draft_devices,
        launcher=launcher,
        share_gpu=share_gpu,
        ray_address=ray_address,
        dtype=dtype,
        debug=debug,
    )
    from amusd.cli.doctor import run

    raise typer.Exit(run(engine))


@app.command(
    epilog="""[bold]Examples[/bold]
amusd simulate --list
amusd simulate --scenario two-cores --set mode=sync --out run
amusd simulate --scenario llama-70b-8b --sweep network.latency_ms=0.05,0.5,2,20 --sweep mode=sync,async
amusd simulate --scenario mine.yaml --set drafters.acceptance.rate=0.9 --seed 7 --json"""
)
def simulate(
    scenario: simulation_options.ScenarioName = "two-cores",
    list_scenarios: simulation_options.ListScenarios = False,
    settings: simulation_options.Settings = None,
    sweep: simulation_options.Sweep = None,
    repeats: simulation_options.Repeats = 3,
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
amusd bench --show results/results.json"""
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
    out: bench_options.Out = None,
    show: bench_options.ShowAgain = None,
    debug: bench_options.Tracebacks = False,
) -> None:
    """Measure against everything that you could use instead.

    All contenders decode the same prompts with the same models, one after the other in rotated order:
    transformers' generate alone and assisted, on the target's devices and on all; llama.cpp where it is
    installed; and every mode of amusd. The tables end with what the measured costs and acceptance allow.
    Each metric's formula is in benchmarks/README.md. Exits with 1 when a mode of amusd wrote another
    text than the target alone.
    """
    from amusd.cli import inputs

    if show is None:
        settings = inputs.read_bench(
            quick=quick,
            contenders=contenders,
            temperatures=temperatures,
            ks=ks,
            prompts_file=prompts,
            num_prompts=num_prompts,
            max_tokens=max_tokens,
            repeats=repeats,
            seed=seed,
            target=target,
            drafts=tuple(draft) if draft else None,
            widen=widen,
            dtype=dtype,
            target_devices=target_devices,
            draft_devices=draft_devices,
            out=out,
        )
    try:
        from amusd.cli import bench as command
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise AmusdError("bench: matplotlib is not installed; pip install 'amusd[bench]'") from None
    raise typer.Exit(command.run(settings) if show is None else command.show_again(show))


@app.command(
    add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def worker(context: typer.Context) -> None:
    """Run one worker; launchers start these, people rarely do."""
    from amusd.launchers.worker_main import main as worker_main

    raise typer.Exit(worker_main(context.args))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    A reader of the output that leaves early (`| head`) ends the command with code 1 and no word, Ctrl-C
    with 130; typer sees to both.

    Args:
        arguments: without the program's name; None takes those of the process.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        with _termination_as_exit():
            return int(app(given or ["--help"], prog_name="amusd", standalone_mode=False) or 0)
    except typer.TyperException as error:
        what = error.format_message().rstrip(".")
        command = f" {given[0]}" if given[0] in COMMANDS else ""
        return _report(f"{what}; see amusd{command} --help", EXIT_USAGE)
    except AmusdError as error:
        return _report(str(error), EXIT_USAGE if isinstance(error, InputError) else EXIT_FAILURE, given)
    except Exception as error:  # noqa: BLE001 - the outermost boundary: a defect is reported in one line too
        what = f"internal error: {type(error).__name__}: {error}; --debug shows where"
        return _report(what, EXIT_FAILURE, given)


def _report(message: str, code: int, arguments: Sequence[str] = ()) -> int:
    """Print an error as one line, after its traceback where --debug asks for it."""
    if "--debug" in arguments:
        traceback.print_exc()
    print(f"amusd: {' '.join(message.split())}", file=sys.stderr)
    return code


@contextmanager
def _termination_as_exit() -> Iterator[None]:
    """SIGTERM unwinds the stack as Ctrl-C does, so that workers are stopped on the way out."""

    def leave(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(EXIT_TERMINATED)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
