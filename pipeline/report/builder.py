"""Builds the report of a run from the files in its folder."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.common.artifacts import now
from pipeline.common.records import git_commit, replacing
from pipeline.common.run_folders import RunFolder, find_run
from pipeline.metrics.spectra import SPECTRA_FILE, load_spectra
from pipeline.report.accuracy import accuracy
from pipeline.report.detection import detection
from pipeline.report.evaluations import Stored, read_evaluations
from pipeline.report.options import ReportOptions
from pipeline.report.page import page
from pipeline.report.parts import Section
from pipeline.report.scenes import scenes
from pipeline.report.spectra import spectra_section
from pipeline.report.surface import surface
from pipeline.report.tables import command, headline, lineage
from pipeline.report.training import training_plots

_DIGITS = 12  # digits of a commit to show


def write_report(options: ReportOptions, logger: logging.Logger) -> Path:
    """Writes the report of a run and returns its path."""
    run = find_run(options.run_dir)
    if run.evaluation is None and options.compare_with:
        raise ValueError(f"--compare-with: expected an evaluation in {run.root} to compare, got none")
    folders = [] if run.evaluation is None else [run.evaluation, *options.compare_with]
    shown = read_evaluations("--compare-with", folders) if folders else []
    sections = list(_sections(run, shown, options, logger))
    text = page(f"Report of {run.root.absolute().name}", list(_about(run, shown)), sections)
    with replacing(options.page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    plots = sum(1 for section in sections for _ in section.parts)
    logger.info(f"{plots} plots and tables, {len(text.encode()) / 1e6:.1f} MB: {options.page}")
    return options.page


def _about(run: RunFolder, shown: Sequence[Stored]) -> Iterator[str]:
    for item in shown[:1]:
        used = item.config.get("options", {})
        scenes_of = f" of {used['config']}, split {used['split']}" if {"config", "split"} <= set(used) else ""
        yield f"{item.estimator} on {item.metrics['scenes']} scenes{scenes_of}."
    yield f"Report of {run.root}, written at {now()} by commit {(git_commit() or 'unknown')[:_DIGITS]}."


def _sections(
    run: RunFolder, shown: Sequence[Stored], options: ReportOptions, logger: logging.Logger
) -> Iterator[Section]:
    if shown:
        yield headline(shown)
        yield accuracy(shown)
        yield detection(shown)
        scenario = shown[0].scenario
        if scenario is None:
            logger.info(f"no scenes in 3-D: {shown[0].folder} does not record the installation")
        elif options.scenes:
            yield scenes(shown[0], scenario, options.scenes)
        if (shown[0].folder / SPECTRA_FILE).is_file() and options.scenes:
            yield spectra_section(shown[0].evaluation, load_spectra(shown[0].folder / SPECTRA_FILE))
    if run.calibration is not None:
        yield surface(run.calibration)
    trained = [plot for folder in run.trainings for plot in training_plots(folder, folder.absolute().name)]
    yield Section("training", "Training", trained)
    others = ["--compare-with", *map(str, options.compare_with)] if options.compare_with else []
    yield lineage(run, options.compare_with, command("report", [str(options.run_dir), *others]))
