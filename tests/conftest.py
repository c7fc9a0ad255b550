"""Shared helpers of the tests: reference cases of the published implementation, and small files in original formats."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from matplotlib.figure import Figure

from config import Config, build_config
from datasets import DatasetSpec
from load_model import from_published
from mfcvae import MFCVAE
from readers.threedshapes import N_VALUES
from rendering.hdf5_file import CHUNK_ROWS, all_labels, wanted_rows
from utils import UserError

FIXTURES = Path(__file__).parent / "fixtures"
CASES = [
    "fc_shared_j2_static", "fc_per_facet_j2_glorot", "fc_vlae_j2_diag", "fc_vlae_j3_full", "conv_vlae_j2_full",
    "conv_vlae_j3_full",
]  # fmt: skip


def random_states() -> tuple:
    """The global random states of Python, numpy and torch, comparable."""
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


def tick_labels(figure: Figure, axis: str) -> list[str]:
    return [label.get_text() for label in getattr(figure.axes[0], f"get_{axis}ticklabels")()]


def fast_are(kept: Iterable[str], names: Iterable[str]) -> list:
    """The cases of a test, of which make test-fast runs those that are kept."""
    return [pytest.param(name, marks=[] if name in kept else pytest.mark.slow) for name in names]


@pytest.fixture(autouse=True)
def _no_account(monkeypatch, tmp_path):
    """No key of the machine's user reaches a test, nor how wandb is set up there."""
    for name in [name for name in os.environ if name.startswith("WANDB_") and name != "WANDB_SERVICE"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))


def offline_records(run: Path, kind: str) -> list[dict]:
    """The records of one kind (history, exit, ...) of an offline wandb run, read back by wandb's own reader."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    records = [json.loads(line) for line in shown.splitlines()]
    return [record[kind] for record in records if record["type"] == kind]


def ladder_settings(encoder: list[list], decoder: list[list], J: int) -> dict[str, list[int]]:
    """The published constructor's layer lists -> our width and depth settings.

    Encoder level: backbone widths, 'branch', rung widths. Decoder level: rung widths, 'merge', backbone widths; the
    deepest one has no 'merge': its last width is the backbone, the others the rung.
    """
    settings: dict[str, list[int]] = {}

    def add(part: str, widths: list[int]) -> None:
        settings.setdefault(f"{part}_dims", []).append(widths[0] if widths else -1)
        settings.setdefault(f"{part}_n_hidden", []).append(len(widths) or -1)

    for level in encoder:
        at = level.index("branch")
        add("enc_backbone", level[:at])
        add("enc_rung", level[at + 1 :])
    for j, level in enumerate(decoder):
        at = level.index("merge") if j < J - 1 else len(level) - 2
        add("dec_rung", level[:at] if j < J - 1 else level[:-1])
        add("dec_backbone", level[at + 1 :])
    return settings


class ReferenceCase:
    """One case of the published implementation: settings, weights, inputs and expected outputs."""

    def __init__(self, name: str):
        description = json.loads((FIXTURES / f"{name}.json").read_text())
        self.arrays = dict(np.load(FIXTURES / f"{name}.npz"))
        self.hyperparameters = description["hyperparameters"]
        self.shapes = description["state_dict_shapes"]
        self.seed = description["seed"]
        self.n_batches = self.hyperparameters["n_train_batches_per_epoch"]
        self.config = self._config()
        self.spec = self._spec()

    def _config(self) -> Config:
        settings = {k: v for k, v in self.hyperparameters.items() if k in Config.__pydantic_fields__}
        J = settings["J_n_mixtures"]
        settings.setdefault("n_epochs_per_progressive_step", [1] * J)
        if settings["model_type"] == "fc_vlae":
            settings |= ladder_settings(settings.pop("encode_layer_dims"), settings.pop("decode_layer_dims"), J)
        if settings["model_type"] == "conv_vlae":
            settings.pop("encode_layer_dims"), settings.pop("decode_layer_dims")
        return build_config(settings)

    def _spec(self) -> DatasetSpec:
        if self.hyperparameters["in_dim"] == 784:
            return DatasetSpec("reference", (1, 28, 28), "bernoulli", "sigmoid", 0)
        return DatasetSpec("reference", (3, 32, 32), "normal", self.hyperparameters["activation_x_hat_z"], 0)

    @cached_property
    def published_weights(self) -> dict[str, torch.Tensor]:
        """Weights drawn by the rule of the reference numbers, under the published names."""
        rng = np.random.default_rng(self.seed)
        weights = {}
        for name in sorted(self.shapes):
            shape = self.shapes[name]
            if name.endswith("num_batches_tracked"):
                weights[name] = torch.tensor(0)
                continue
            a = rng.standard_normal(shape)
            if name.endswith("running_var"):
                a = 0.5 + np.abs(a)
            elif "_sigma_square_p" in name:
                a = 0.2 + 0.05 * a
            elif "mu_p_z" in name or "_pi_p" in name:
                a = 0.5 * a
            elif name.endswith("weight_g"):
                a = 0.5 + 0.1 * np.abs(a)
            elif "_l_mat" in name:
                a = 0.05 * a + 0.3 * np.eye(shape[0])[:, :, None]
            else:
                a = 1.5 * a / np.sqrt(np.prod(shape[1:])) if len(shape) >= 2 else 0.1 * a
            weights[name] = torch.from_numpy(np.asarray(a, dtype=np.float32))
        return weights

    def model(self) -> MFCVAE:
        """Our model with the reference weights, in eval mode."""
        model = MFCVAE(self.config, self.spec)
        model.load_state_dict(from_published(self.published_weights, model, self.config))
        return model.eval()

    def x(self) -> torch.Tensor:
        return torch.from_numpy(self.arrays["x"]).view(-1, *self.spec.image_shape)

    def epochs(self) -> list[int]:
        return sorted({int(key.split("/")[0][5:]) for key in self.arrays if key.startswith("epoch")})


@pytest.fixture(params=CASES, scope="module")
def case(request: pytest.FixtureRequest) -> ReferenceCase:
    return ReferenceCase(request.param)


# --- damaged and dangerous files


class Payload:
    """An object that makes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def content_places(path: Path) -> np.ndarray:
    """Which bytes of a file that torch.save wrote are the content of its parts; the others are headers."""
    data = path.read_bytes()
    places = np.zeros(len(data), dtype=bool)
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            header = data[part.header_offset : part.header_offset + 30]
            n_name, n_extra = struct.unpack_from("<HH", header, 26)
            start = part.header_offset + 30 + n_name + n_extra
            places[start : start + part.file_size] = True
    return places


def flipped_bits(path: Path, n: int) -> Iterator[str]:
    """Flip a bit of the file, n times another one: by turns one of the content and one of the headers; yields where."""
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    is_content = content_places(path)
    places = [np.flatnonzero(is_content), np.flatnonzero(~is_content)]
    for i in range(n):
        at, bit = int(rng.choice(places[i % 2])), int(rng.integers(8))
        damaged = bytearray(whole)
        damaged[at] ^= 1 << bit
        path.write_bytes(damaged)
        yield f"byte {at}, bit {bit}"
    path.write_bytes(whole)


def damaged_copies(path: Path, n: int) -> Iterator[str]:
    """Flip a bit anywhere in a file, n times another one; yields where. In the end the file is as it was."""
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(n):
        at, bit = int(rng.integers(len(whole))), int(rng.integers(8))
        damaged = bytearray(whole)
        damaged[at] ^= 1 << bit
        path.write_bytes(damaged)
        yield f"byte {at}, bit {bit}"
    path.write_bytes(whole)


def assert_flips_are_noticed(path: Path, load: Callable[[], Any]) -> None:
    """Each of 200 flipped bits of the file is refused, or what is loaded is the same to the last bit."""
    whole, refusals = load(), []
    for flip in flipped_bits(path, 200):
        try:
            again = load()
        except UserError as error:
            refusals.append(str(error))
            continue
        assert is_same(again, whole), flip
    assert len(refusals) >= 100  # at least those of the content
    assert all("damaged" in refusal for refusal in refusals)


def is_same(a: Any, b: Any) -> bool:
    """Whether two nested values are equal to the last bit: types, orders, layouts and signs of zeros."""
    if isinstance(a, torch.Tensor):
        return a.stride() == b.stride() and pickle.dumps(a.numpy()) == pickle.dumps(b.numpy())
    if isinstance(a, dict):
        return list(a) == list(b) and all(map(is_same, a.values(), b.values()))
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(is_same, a, b))
    return repr(a) == repr(b)


# --- small files in the original formats


def write_yaml(folder: Path, text: str) -> str:
    """A file of settings; its path."""
    path = folder / "settings.yml"
    path.write_text(text)
    return str(path)


def write_svhn(folder: Path, n_train: int, n_test: int) -> None:
    """train_32x32.mat and test_32x32.mat of random images, labels cycling through 1 to 10 (the digit zero)."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for split, n in (("train", n_train), ("test", n_test)):
        images = rng.integers(0, 256, (32, 32, 3, n), dtype=np.uint8)
        labels = (np.arange(n) % 10 + 1).astype(np.uint8)[:, None]
        scipy.io.savemat(folder / f"{split}_32x32.mat", {"X": images, "y": labels})


def striped_images(factors: np.ndarray) -> np.ndarray:
    """Images that show their factors: value indices (N, 6) -> (N, 64, 64, 3) uint8, ten rows of pixels per factor.

    A factor's stripe has brightness 16 times the value index, so that the index can be read off the image.
    """
    stripes = np.pad(factors.astype(np.uint8) * 16, ((0, 0), (0, 1)))  # the last four rows of pixels are black
    rows = stripes[:, np.minimum(np.arange(64) // 10, 6)]  # (N, 64)
    return np.broadcast_to(rows[:, :, None, None], (len(factors), 64, 64, 3))


def write_3dshapes(folder: Path, config: Config, synthetic: bool = True) -> Path:
    """3dshapes.h5 below a data_dir, of full shape, all labels, and images where the configuration needs them.

    synthetic: with the marks that render_3dshapes.py puts on a file of some images; without them it claims to be the
    original. Returns the file's path.
    """
    path = folder / "Fast_3DShapes" / "raw" / "3dshapes.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = all_labels()
    wanted = wanted_rows(config.factors_variation_dict)
    shape = (len(labels), 64, 64, 3)
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", shape, "uint8", chunks=(CHUNK_ROWS, *shape[1:]), compression="lzf")
        file.create_dataset("labels", data=labels)
        for chunk in np.flatnonzero(wanted.reshape(-1, CHUNK_ROWS).any(1)):
            rows = np.arange(chunk * CHUNK_ROWS, (chunk + 1) * CHUNK_ROWS)
            images[rows[0] : rows[-1] + 1] = striped_images(np.stack(np.unravel_index(rows, N_VALUES), axis=1))
        if synthetic:
            file.attrs["synthetic"], file.attrs["source"] = True, "a test"
            file.create_dataset("rendered", data=wanted.astype(np.uint8))
    return path


CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if not CHROMIUM:
        pytest.skip("there is no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()
