"""Scenes of measurement files, processed in batches: locate the sources, refine them, add up the statistics."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.covariance_estimator.atoms import PARAMETERS_PER_ATOM, Atoms, atom_specs
from models.covariance_estimator.backbone import Backbone
from models.covariance_estimator.off_grid_refinement import Refinement, refine_atoms
from models.physics.observation import measurement_specs, observe
from pipeline.calibrate.anchors import Anchors
from pipeline.calibrate.statistics import prior_precision, scene_statistics
from pipeline.calibrate.sums import Sums, no_scenes
from serving.client.measurement_file import MeasurementFile

_REFINING_STEPS, _SETTLING_STEPS = 2, 2
INPUTS = ("snapshots", "ris_codes", "channel", "snr_db")


class Batch(NamedTuple):
    """Scenes that are processed together.

    scenes: their numbers, counted through all files. fold: the fold they belong to. inputs: their arrays by name.
    """

    scenes: slice
    fold: int
    inputs: dict[str, np.ndarray]

    @property
    def size(self) -> int:
        """Number of scenes."""
        return self.scenes.stop - self.scenes.start


@dataclasses.dataclass(frozen=True)
class SceneFiles:
    """All scenes of some measurement files, in batches. The batches are assigned to the folds in turn.

    files: files of one surface and one number of antennas.
    batch_size: scenes in a batch.
    folds: number of groups of scenes whose sums are kept apart.
    channel: replaces the channels of the files, [M, N] complex64; None keeps them.
    """

    files: Sequence[MeasurementFile]
    batch_size: int
    folds: int
    channel: np.ndarray | None = None

    def __len__(self) -> int:
        return sum(map(len, self.files))

    @property
    def num_antennas(self) -> int:
        """M, the number of antennas."""
        return self.files[0].num_antennas

    def sizes(self, every: int = 1) -> list[int]:
        """Number of scenes in each batch that `batches` yields."""
        size = self.batch_size
        all_sizes = [min(size, len(file) - start) for file in self.files for start in range(0, len(file), size)]
        return [count for number, count in enumerate(all_sizes) if number // self.folds % every == 0]

    def batches(self, every: int = 1) -> Iterator[Batch]:
        """Yields the scenes in order, of every so many-th round of batches; a round is one batch per fold."""
        first = 0
        batches = itertools.chain.from_iterable(file.batches(self.batch_size) for file in self.files)
        for number, scenes in enumerate(batches):
            if number // self.folds % every == 0:
                inputs = scenes.inputs(0, len(scenes))
                if self.channel is not None:
                    inputs["channel"] = np.broadcast_to(self.channel, inputs["channel"].shape)
                yield Batch(slice(first, first + len(scenes)), number % self.folds, inputs)
            first += len(scenes)


def open_scenes(paths: Sequence, num_elements: int, most: int = 32, folds: int = 8) -> SceneFiles:
    """Opens measurement files of an installation with N = `num_elements`; ValueError if the sizes of a file do not
    fit. A batch has at most `most` scenes; with few scenes it is smaller, so that each of the `folds` gets one."""
    files = [MeasurementFile(path) for path in paths]
    for file in files:
        if file.num_elements != num_elements:
            raise ValueError(
                f"{file.path}: channel: expected N = {num_elements} as the installation, got {file.num_elements}"
            )
        if file.num_antennas != files[0].num_antennas:
            raise ValueError(
                f"{file.path}: channel: expected M = {files[0].num_antennas} as {files[0].path}, "
                f"got {file.num_antennas}"
            )
    count = sum(map(len, files))
    return SceneFiles(files, max(1, min(most, count // folds)), folds)


@dataclasses.dataclass
class Sources:
    """Current estimates of the sources of all scenes; about a hundred bytes per scene.

    parameters: [S, A, 4] float32. active: [S, A] bool. noise_power: [S] float32.
    known: [S] bool, whether the scene has been located.
    """

    parameters: np.ndarray
    active: np.ndarray
    noise_power: np.ndarray
    known: np.ndarray

    @classmethod
    def unknown(cls, num_scenes: int, slots: int) -> "Sources":
        """The state before any scene is located."""
        return cls(
            np.zeros((num_scenes, slots, PARAMETERS_PER_ATOM), np.float32),
            np.zeros((num_scenes, slots), bool),
            np.ones(num_scenes, np.float32),
            np.zeros(num_scenes, bool),
        )

    def atoms(self, scenes: slice) -> Atoms:
        """Returns the sources of some scenes as atoms."""
        return Atoms(*(tf.constant(part[scenes]) for part in (self.parameters, self.active, self.noise_power)))

    def put(self, scenes: slice, atoms: Atoms) -> None:
        """Replaces the sources of some scenes."""
        self.parameters[scenes], self.active[scenes], self.noise_power[scenes] = (part.numpy() for part in atoms)
        self.known[scenes] = True


def by_count(atoms: Atoms) -> Iterator[tuple[np.ndarray, Atoms]]:
    """Groups scenes with at least one source by their number of sources. Yields the indices of the scenes, and their
    atoms without empty slots."""
    parameters, active, noise_power = (part.numpy() for part in atoms)
    counts = active.sum(axis=-1)
    first = np.argsort(~active, axis=-1, kind="stable")
    parameters = np.take_along_axis(parameters, first[..., None], axis=1)
    for count in map(int, np.unique(counts[counts > 0])):
        chosen = np.flatnonzero(counts == count)
        yield chosen, Atoms(parameters[chosen, :count], np.ones((len(chosen), count), bool), noise_power[chosen])


class SceneModel:
    """The localizer's likelihood for a given element response. backbone: locates the sources; its scenario is the
    installation. num_antennas: M of the files."""

    def __init__(self, backbone: Backbone, num_antennas: int) -> None:
        self.backbone, self.num_antennas = backbone, num_antennas
        self.array, self.view = backbone.scenario.array, backbone.scenario.field_of_view
        config = backbone.config.refinement
        self.slots = backbone.scenario.max_sources + config.spare_atoms
        refining = dataclasses.replace(config, settling_steps=_SETTLING_STEPS)
        self._refinement = Refinement(backbone.scenario, refining)
        self._atom_price = config.prune_llr

    def input_specs(self) -> list[tf.TensorSpec]:
        """Tensor specs of the inputs and of the element response."""
        elements = self.array.num_elements
        measured = measurement_specs(self.num_antennas, elements)
        return [*measured.values(), tf.TensorSpec([elements], tf.complex64, "response")]

    @functools.cached_property
    def _locate(self):
        @tf.function(input_signature=self.input_specs(), autograph=False)
        def locate(snapshots, ris_codes, channel, snr_db, response):
            prediction = self.backbone.predict_covariance(observe(snapshots, ris_codes * response, channel, snr_db))
            return prediction.atoms, prediction.nll

        return locate

    @functools.cached_property
    def _refine(self):
        @tf.function(input_signature=[*self.input_specs(), *atom_specs(self.slots)], autograph=False)
        def refine(snapshots, ris_codes, channel, snr_db, response, *atoms):
            observation = observe(snapshots, ris_codes * response, channel, snr_db)
            return refine_atoms(observation, Atoms(*atoms), self._refinement, _REFINING_STEPS)

        return refine

    @functools.lru_cache(maxsize=16)  # noqa: B019 - as many as sources a scene may have
    def _statistics(self, slots: int):
        precision = tf.TensorSpec([None, PARAMETERS_PER_ATOM * slots + 1], tf.float32)

        @tf.function(input_signature=[*self.input_specs(), precision, *atom_specs(slots)], autograph=False)
        def statistics(snapshots, ris_codes, channel, snr_db, response, precision, *atoms):
            observation = observe(snapshots, ris_codes, channel, snr_db)
            return scene_statistics(observation, response, Atoms(*atoms), precision, self.array)

        return statistics

    def update(
        self, sources: Sources, scenes: slice, inputs: Mapping[str, np.ndarray], response: np.ndarray, *, locate: bool
    ) -> None:
        """Refines the sources of some scenes, in place, given their inputs by name and g = `response`, [N] complex64.

        With `locate`, also locates them anew and keeps the better result. The better result has the lower negative
        log-likelihood plus the localizer's penalty per atom.
        """
        arrays = [inputs[name] for name in INPUTS]
        known = bool(sources.known[scenes].all())
        if known:
            refined, refined_nll = self._refine(*arrays, response, *sources.atoms(scenes))
        if known and not locate:
            sources.put(scenes, refined)
            return
        located, located_nll = self._locate(*arrays, response)
        if known:
            better = self._penalized(located, located_nll) < self._penalized(refined, refined_nll)
            masks = (better[:, None, None], better[:, None], better)
            located = Atoms(*map(tf.where, masks, located, refined))
        sources.put(scenes, located)

    def _penalized(self, atoms: Atoms, nll: tf.Tensor) -> tf.Tensor:
        return nll + self._atom_price * tf.reduce_sum(tf.cast(atoms.active, tf.float32), axis=-1)

    def summed(
        self, atoms: Atoms, inputs: Mapping[str, np.ndarray], response: np.ndarray, anchors: Sequence[Anchors]
    ) -> tuple[Sums, np.ndarray]:
        """Statistics of scenes at g = `response`, [N] complex64, given their sources, their inputs by name, and their
        anchors.

        Returns the sums over the scenes, and the score of every scene, [B, 2N] float32, zero if a scene has no source.
        """
        size = 2 * response.size
        empty = atoms.noise_power.numpy()[~atoms.active.numpy().any(axis=-1)].astype(np.float64)
        noise_alone = inputs["snapshots"][0].size * float(np.sum(np.log(empty) + 1.0 / empty))
        result = dataclasses.replace(no_scenes(response.size), scenes=float(empty.size), nll=noise_alone)
        scores = np.zeros((len(inputs["snapshots"]), size), np.float32)
        for chosen, (places, active, noise_power) in by_count(atoms):
            count = active.shape[1]
            precision = np.tile(prior_precision(self.view, count), (len(chosen), 1))
            for row, scene in enumerate(chosen.tolist()):
                anchors[scene].pin(places[row], precision[row], self.array)
            part = self._statistics(count)(
                *(inputs[name][chosen] for name in INPUTS), response, precision, places, active, noise_power
            )
            scores[chosen] = part.score.numpy()
            result += Sums(
                float(len(chosen)),
                float(part.nll.numpy().sum(dtype=np.float64)),
                scores[chosen].sum(axis=0, dtype=np.float64),
                part.information.numpy().astype(np.float64),
                part.complete.numpy().astype(np.complex128),
            )
        return result, scores
