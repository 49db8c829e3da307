r"""Compare real runs with their simulation: the same costs and tokens per pass, what throughput?

    amusd generate 'class Stack:' --launcher local --mode async --max-tokens 400 --json \
        --trace run.trace.json > run.json
    python scripts/validate_simulation.py run.json run.trace.json --mode async

Several runs with the same settings and other prompts or seeds may be given, each as its two files. Exits with
1 when throughput differs by more than the tolerance.
"""

import argparse
from pathlib import Path
from statistics import fmean

from amusd.simulation import load_scenario, simulate
from amusd.simulation.calibration import calibrate, read_runs

SEEDS = range(8)


def main() -> int:
    """Print both side by side."""
    arguments = _arguments()
    files = [Path(name) for name in arguments.files]
    if len(files) % 2:
        raise SystemExit("give two files a run: what it printed, then its trace")
    scenario = load_scenario(arguments.scenario).with_value("mode", arguments.mode)
    scenario = scenario.with_value("num_speculative_tokens", arguments.num_speculative_tokens)
    scenario = scenario.with_value("verify", arguments.verify)
    if arguments.rows_step is not None:
        scenario = scenario.with_value("target.curve.rows_step", arguments.rows_step)
    runs = list(zip(files[::2], files[1::2], strict=True))
    measured = read_runs(runs, scenario.target.curve.rows_step)
    fitted = calibrate(scenario, measured, SEEDS)
    results = [simulate(fitted.with_value("seed", seed)).result for seed in SEEDS]
    hundreds = measured.tokens / 100
    simulated_hundreds = sum(result.tokens for result in results) / 100
    rows = [
        (
            "tokens/s",
            measured.tokens / measured.seconds,
            sum(result.tokens for result in results) / sum(result.seconds for result in results),
        ),
        (
            "tokens per pass (fitted)",
            measured.tokens / measured.passes,
            sum(result.tokens for result in results) / sum(result.passes for result in results),
        ),
        (
            "acceptance rate",
            measured.accepted / max(1, measured.verified),
            fmean(result.acceptance_rate for result in results),
        ),
        (
            "rollbacks per 100 tokens",
            measured.rollbacks / hundreds,
            sum(result.rollbacks for result in results) / simulated_hundreds,
        ),
        (
            "foreseen corrections per 100 tokens",
            measured.foreseen_corrections / hundreds,
            sum(result.foreseen_corrections * result.corrections for result in results) / simulated_hundreds,
        ),
    ]
    print(
        f"pass ms by rows {_shown(measured.pass_ms)}, jitter {measured.pass_jitter:.2f}, "
        f"between passes {measured.pass_overhead_ms:.2f}"
    )
    print(
        f"step ms by nodes {_shown(measured.step_ms)}, jitter {measured.step_jitter:.2f}, "
        f"between steps {measured.step_overhead_ms:.2f}"
    )
    print(f"latency {measured.latency_ms:.2f} ms, fitted rate {fitted.drafters.acceptance.rate:.3f}")
    print(f"{measured.runs} runs, {measured.tokens} tokens")
    print(f"{'':36} {'measured':>9} {'simulated':>9} {'ratio':>6}")
    for name, real, simulated in rows:
        ratio = f"{simulated / real:6.3f}" if real else ""
        print(f"{name:36} {real:9.3f} {simulated:9.3f} {ratio}")
    _, real, simulated = rows[0]
    return int(abs(simulated / real - 1) > arguments.tolerance)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", help="of each run what it printed with --json, then its trace")
    parser.add_argument("--mode", required=True, help="of the runs")
    parser.add_argument("--verify", default="chain", help="of the runs (default chain)")
    parser.add_argument(
        "--rows-step", type=int, help="what a pass's rows are padded to (default: scenario's)"
    )
    parser.add_argument("--num-speculative-tokens", type=int, default=7, help="of the runs (default 7)")
    parser.add_argument("--scenario", default="two-cores", help="lends the shape of its acceptance law")
    parser.add_argument("--tolerance", type=float, default=0.1, help="of throughput (default 0.1)")
    return parser.parse_args()


def _shown(costs: dict[int, float]) -> str:
    return ", ".join(f"{rows}: {cost:.2f}" for rows, cost in costs.items()) or "-"


if __name__ == "__main__":
    raise SystemExit(main())
