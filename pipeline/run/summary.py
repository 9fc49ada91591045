"""The summary at the end of a run: results, their folders, and the next commands."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.common.run_folders import read_record
from pipeline.release.versions import served_version
from pipeline.run.plan import Planned, duration
from pipeline.run.steps import MODEL_NAME, Step


def summary(run_dir: Path, plan: Sequence[Planned], spent: Mapping[str, float]) -> Iterator[str]:
    """Yields the lines of the summary. spent: durations in seconds of the steps that were run, by name."""
    for planned in plan:
        name = planned.step.name
        has_result = planned.is_done or name in spent
        what = "unchanged" if planned.is_done else duration(spent[name]) if has_result else "not run"
        yield f"  {name:<15} {what:<10} {_result(planned.step) if has_result else ''}".rstrip()
    done = {planned.step.name: planned.step for planned in plan if planned.is_done or planned.step.name in spent}
    if "learnability" in done:
        judged = read_record(run_dir / "train" / "learnability.json")
        names = {"untrained": "untrained", "trained": "trained", "sequential_ml": "sequential maximum likelihood"}
        f1 = ", ".join(f"{name} {judged['scores'][key]['f1']:.3f}" for key, name in names.items())
        yield f"F1 on {done['learnability'].options.scenes} validation scenes not used for any choice: {f1}"
        gains = {names[key]: gain for key, gain in judged["f1_gain"].items()}
        shown = ", ".join(f"{name} {gain:+.3f} [{low:+.3f}, {high:+.3f}]" for name, (gain, low, high) in gains.items())
        yield f"F1 of the trained model minus that of another, paired, with 95 % interval: {shown}"
    if "evaluate" in done:
        tested = done["evaluate"].options
        measured = read_record(tested.output_dir / "metrics.json")["standard"]["f1"]
        yield f"F1 of the exported model on {tested.scenes} test scenes: {measured:.3f}"
        yield f"figures: {tested.output_dir / 'figures'}/*.png; logs: {run_dir / 'logs'}, and logs/ in every folder"
    if "locate" in done:
        yield from _next(run_dir, done)


def _next(run_dir: Path, done: Mapping[str, Step]) -> Iterator[str]:
    sent, tested = done["locate"].options, done["evaluate"].options
    model = sent.model_base_path.absolute()
    served = f"--target localhost:8500 --config {tested.config} --data-dir {tested.data_dir}"
    yield "next, with .venv/bin/ before python:"
    yield f"  python -m serving.model_server --port=8500 --model_name={MODEL_NAME} --model_base_path={model}"
    yield f"  python -m serving.client --target localhost:8500 --input {sent.output} --output sources.json"
    yield f"  python -m pipeline.evaluate {served} --scenes {tested.scenes} --output-dir {run_dir / 'served'}"


def _result(step: Step) -> str:
    if step.name == "evaluate":
        metrics = read_record(step.options.output_dir / "metrics.json")
        low, high = metrics["standard"]["f1_interval"]
        f1, rmse_m = metrics["standard"]["f1"], metrics["rmse_xyz_m"]
        return f"F1 {f1:.3f} [{low:.3f}, {high:.3f}], rmse {rmse_m:.2f} m, {metrics['scenes']} scenes"
    if step.verdict is not None:
        record = read_record(step.verdict)
        reasons = record.get("reasons", [record.get("reason")])
        return ": ".join([record["verdict"], *(["; ".join(map(str, reasons))] if reasons else [])])
    if step.name == "push":
        served = served_version(step.options.model_base_path)
        return f"version {served.number} in {step.options.model_base_path}" if served is not None else ""
    return ""
