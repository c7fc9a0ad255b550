"""The evaluation scripts write what they promise, change nothing, and answer bad input with one line."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import random_states

import eval_all
import eval_compositionality
import eval_sample_generation
import eval_top10_cluster_examples
from config import build_config
from datasets import dataset_spec, load_dataset
from evaluation.choices import Choices
from evaluation.figures import composition
from evaluation.opening import default_folder, observe_model
from evaluation.predictions import RankedCluster, predict
from evaluation.writing import FigureFolder, cluster_pairs, write_swaps
from initialisation import mixture_means
from load_model import export_published, save_model
from mfcvae import MFCVAE
from utils import UserError, preserved_random_state

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = [
    "eval_all", "eval_compositionality", "eval_sample_generation", "eval_top10_cluster_examples", "evaluation.writing",
    "readers.image_files", "evaluation.predictions", "load_model", "predict",
]  # fmt: skip


def tiny_model(folder: Path, J: int) -> Path:
    """An untrained model of the digits with J facets, its clusters fitted so that they have members."""
    widths = {name: [16] * J for name in ("enc_backbone_dims", "dec_backbone_dims", "dec_rung_dims")}
    depths = {name: [1] * J for name in ("enc_backbone_n_hidden", "dec_backbone_n_hidden", "dec_rung_n_hidden")}
    unused = {name: [-1] * J for name in ("enc_rung_dims", "enc_rung_n_hidden")}
    sizes = {"J_n_mixtures": J, "z_j_dim_list": [2] * J, "n_clusters_j_list": [4] * J}
    progress = {"n_epochs_per_progressive_step": [1] * J, "run_name": f"tiny_{J}"}
    config = build_config({"dataset": "digits", **widths, **depths, **unused, **sizes, **progress})
    with preserved_random_state():
        torch.manual_seed(0)
        model = MFCVAE(config, dataset_spec(config))
        images = load_dataset(config, torch.device("cpu")).train.images
        encodings = predict(model, images, batch_size=500).means
        for prior, start in zip(model.prior, mixture_means(encodings, [4] * J, seed=0), strict=True):
            prior.start_at(start)
    save_model(model, config, folder / "save_dict.pt")
    export_published(model, config, folder / "published.pt")
    return folder / "save_dict.pt"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[int, Path]:
    return {J: tiny_model(tmp_path_factory.mktemp(f"model_{J}"), J) for J in (1, 2, 3)}


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def arguments(model: Path, folder: Path, *more: str) -> list[str]:
    return ["--model_path", str(model), "--results_dir", str(folder), *more]


def figures_of(name: str, J: int) -> set[str]:
    return {f"{name.format(j)}.png" for j in range(J)}


def test_top_examples_and_generations(models, tmp_path):
    flags = arguments(models[3], tmp_path / "new" / "folder")
    assert eval_top10_cluster_examples.main([*flags, "--split", "train"]) == 0
    assert eval_sample_generation.main([*flags, "--temperature", "0.5"]) == 0
    wanted = figures_of("examples_top_10_facet_{}_full", 3) | figures_of("generations_facet_{}", 3)
    assert files(tmp_path / "new" / "folder") == wanted


@pytest.mark.parametrize(("J", "swapped"), [(1, 0), (2, 0), (2, 1), (3, 1)])
def test_compositionality_of_any_facet(models, tmp_path, J, swapped):
    flags = ["--swapped_facet", str(swapped), "--first_n_clusters_swapped_1", "2", "--first_n_clusters_swapped_2", "2"]
    assert eval_compositionality.main(arguments(models[J], tmp_path, *flags)) == 0
    found = files(tmp_path)
    overviews = {f"composition_overview_facets_{i}_{swapped}" for i in range(J) if i != swapped}
    assert {name for name in found if "overview" in name} == {f"{overview}.png" for overview in overviews}
    swaps = {name for name in found if name.startswith("swap")}
    folders = {Path(name).parent.name for name in swaps}
    assert len(folders) == 3
    sides = [f"x_x_hat_{moment}_{side}" for moment in ("before", "after") for side in (0, 1)]
    assert swaps == {f"{folder}/{side}.png" for folder in folders for side in sides}


def test_formats_that_are_asked_for(models, tmp_path):
    eval_sample_generation.main(arguments(models[1], tmp_path, "--formats", "pdf", "svg"))
    assert files(tmp_path) == {"generations_facet_0.pdf", "generations_facet_0.svg"}


@pytest.mark.slow
def test_everything_at_once_is_the_same_bytes(models, tmp_path):
    formats = ["--formats", "png", "pdf"]
    swaps = ["--swapped_facet", "0", "--first_n_clusters_swapped_1", "1", "--first_n_clusters_swapped_2", "2", *formats]
    flags = ["--seed", "3", *swaps]
    eval_all.main(arguments(models[2], tmp_path / "all", *flags))
    eval_all.main(arguments(models[2].with_name("published.pt"), tmp_path / "published", *flags))
    eval_top10_cluster_examples.main(arguments(models[2], tmp_path / "one", *formats))
    eval_sample_generation.main(arguments(models[2], tmp_path / "one", "--seed", "3", *formats))
    eval_compositionality.main(arguments(models[2], tmp_path / "one", *swaps))
    assert files(tmp_path / "all") == files(tmp_path / "one") == files(tmp_path / "published")
    for name in files(tmp_path / "all"):
        content = (tmp_path / "all" / name).read_bytes()
        assert content == (tmp_path / "one" / name).read_bytes()
        assert content == (tmp_path / "published" / name).read_bytes()


def test_figures_go_beside_a_runs_model(tmp_path):
    assert default_folder(tmp_path / "mnist.pt") == Path("results/mnist/evaluation")
    (tmp_path / "config.yml").touch()
    assert default_folder(tmp_path / "save_dict.pt") == tmp_path / "evaluation"


def test_an_overview_holds_further_facets_at_their_largest_cluster(models):
    """And says so, and how many clusters it shows."""
    observed = observe_model(models[3])
    sizes = np.bincount(observed.predictions.clusters[:, 1])
    figure = composition(observed, (2, 0), 2)
    title = " ".join(figure.get_suptitle().split())
    assert title.endswith(f"of facets 2 and 0, facet 1 at its cluster {sizes.argmax()}")
    assert figure.axes[0].get_ylabel() == f"clusters of facet 2, 2 of {len(observed.ranked[2])}"


def test_each_pair_of_clusters_comes_once():
    ranked = [RankedCluster(k, np.array([k]), 1.0) for k in (7, 3, 5, 1)]

    def pairs(n_1: int, n_2: int) -> list[tuple[int, int]]:
        return [(a.cluster, b.cluster) for a, b in cluster_pairs(ranked, n_1, n_2)]

    assert pairs(2, 2) == [(7, 7), (7, 3), (3, 3)]
    assert pairs(1, 3) == pairs(3, 1) == [(7, 7), (7, 3), (7, 5)]
    assert len(pairs(10, 10)) == 10
    many = [RankedCluster(k, np.array([k]), 1.0) for k in range(25)]
    assert len(cluster_pairs(many, 10, 10)) == 55


def test_random_state_and_gradient_mode_stay(models, tmp_path, monkeypatch):
    kept = {}
    opened = eval_all.open_evaluation

    def remember(parsed):
        observed, folder = opened(parsed)
        kept["model"] = observed.model
        kept["state"] = {name: tensor.clone() for name, tensor in observed.model.state_dict().items()}
        return observed, folder

    monkeypatch.setattr(eval_all, "open_evaluation", remember)
    before = random_states()
    eval_all.main(arguments(models[2], tmp_path))
    assert random_states() == before
    assert torch.is_grad_enabled()
    assert not kept["model"].training
    assert all(torch.equal(tensor, kept["state"][name]) for name, tensor in kept["model"].state_dict().items())


@pytest.mark.slow
def test_nothing_happens_at_import(tmp_path):
    """Imports print nothing, write nothing, seed nothing and leave wandb and pyplot alone."""
    code = (
        "import torch, numpy, sys; a = torch.get_rng_state(); b = numpy.random.get_state()[1].copy()\n"
        f"import {', '.join(SCRIPTS)}\n"
        "assert torch.equal(torch.get_rng_state(), a) and (numpy.random.get_state()[1] == b).all()\n"
        "assert torch.is_grad_enabled() and not {'wandb', 'matplotlib.pyplot'} & sys.modules.keys()"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert files(tmp_path) == set()


BAD_INPUT = {
    "unknown flag": (eval_compositionality, ["--swaped_facet", "1"], "did you mean '--swapped_facet'"),
    "flag of another script": (eval_top10_cluster_examples, ["--temperature=1"], "unknown flag '--temperature'"),
    "abbreviation": (eval_sample_generation, ["--temp", "1"], "did you mean '--temperature'"),
    "stray word": (eval_sample_generation, ["hello"], "unknown flag 'hello'"),
    "negative temperature": (eval_sample_generation, ["--temperature", "-1"], "--temperature.*at least 0"),
    "no number": (eval_sample_generation, ["--temperature", "nan"], "--temperature.*at least 0"),
    "no clusters 1": (eval_compositionality, ["--first_n_clusters_swapped_1", "0"], "swapped_1.*at least 1"),
    "no clusters 2": (eval_compositionality, ["--first_n_clusters_swapped_2", "-3"], "swapped_2.*"),
    "no such facet": (eval_compositionality, ["--swapped_facet", "2"], "2 facets, 0 to 1"),
    "no such facet at once": (eval_all, ["--swapped_facet", "9"], "2 facets, 0 to 1"),
    "no such split": (eval_all, ["--split", "valid"], "--split"),
    "no such device": (eval_all, ["--device", "abacus"], "device = 'abacus'"),
    "no batches": (eval_all, ["--batch_size", "0"], "--batch_size.*at least 1"),
    "no such format": (eval_all, ["--formats", "gif"], "--formats"),
    "not published": (eval_all, ["--published", "mnis"], "--published"),
    "no seed": (eval_all, ["--seed", "-1"], "--seed"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_flags_are_one_line_each(name, models, tmp_path):
    script, flags, message = BAD_INPUT[name]
    with pytest.raises(UserError, match=message) as error:
        script.main(arguments(models[2], tmp_path / "results", *flags))
    assert "\n" not in str(error.value)
    assert not any((tmp_path / "results").glob("*.p*"))


@pytest.mark.parametrize("script", [eval_all, eval_compositionality, eval_sample_generation])
def test_missing_model_and_missing_flag(script, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        script.main(arguments(tmp_path / "nothing.pt", tmp_path))
    with pytest.raises(UserError, match="--model_path"):
        script.main([])


def test_folders_that_cannot_be_written(models, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot create the folder"):
        eval_all.main(arguments(models[2], tmp_path / "file" / "results"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match="permission denied"):
        eval_all.main(arguments(models[2], tmp_path / "closed"))


def test_a_missing_data_set_is_one_line(models, tmp_path):
    config = dataclasses.replace(build_config({"dataset": "fast_3dshapes"}), model_type="fc_vlae")
    save_model(MFCVAE(config, dataset_spec(config)), config, tmp_path / "m.pt")
    with pytest.raises(UserError, match="3dshapes.h5 is missing"):
        eval_all.main(arguments(tmp_path / "m.pt", tmp_path, "--data_dir", str(tmp_path)))


@pytest.mark.parametrize("name", ["mnist", "svhn", "3dshapes_1", "3dshapes_2"])
def test_shell_scripts_draw_what_is_published_and_pass_flags_on(name, models):
    """What would be run: PYTHON=echo shows it."""
    script = ROOT / "shell_scripts" / f"eval_{name}.sh"

    def shown(*words: str) -> str:
        environment = os.environ | {"PYTHON": "echo"}
        return subprocess.run(
            [script, *words], cwd=models[2].parent, env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert shown() == f"eval_all.py --model_path pretrained_models/{name}.pt --published {name}"
    assert shown(models[2].name, "--seed", "1") == f"eval_all.py --model_path {models[2]} --published {name} --seed 1"
    assert shown("--seed", "1") == f"eval_all.py --model_path pretrained_models/{name}.pt --published {name} --seed 1"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], Choices(0.3, 0, None, 3, 3)),
        (["--published", "mnist"], Choices(1.0, 0, 0, 10, 10)),
        (["--published", "svhn"], Choices(0.3, 0, 1, 10, 10)),
        (["--published", "3dshapes_1"], Choices(0.3, 0, 1, 10, 10)),
        (["--temperature", "0.5", "--seed", "4", "--published", "3dshapes_2"], Choices(0.5, 4, 1, 10, 10)),
    ],
)
def test_flags_win_over_what_is_published(models, tmp_path, monkeypatch, flags, expected):
    found = []
    monkeypatch.setattr(eval_all, "evaluate_all", lambda observed, folder, choices: found.append(choices))
    eval_all.main(arguments(models[2], tmp_path, *flags))
    assert found == [expected]


@pytest.mark.slow
def test_a_shell_script_runs_from_any_directory_and_passes_errors_out(models, tmp_path):
    """A model beside the caller; later flags win."""
    script, model = ROOT / "shell_scripts" / "eval_mnist.sh", models[2]

    def run(*words: str) -> subprocess.CompletedProcess:
        environment = os.environ | {"PYTHON": sys.executable}
        return subprocess.run([script, *words], cwd=model.parent, env=environment, capture_output=True, text=True)

    done = run(model.name, "--results_dir", str(tmp_path), "--first_n_clusters_swapped_1", "1")
    assert done.returncode == 0, done.stderr
    assert f"wrote {tmp_path}" in done.stdout
    assert "generations_facet_1.png" in files(tmp_path)
    wrong = run(model.name, "--sed", "1")
    assert wrong.returncode == 2
    assert wrong.stderr == "error: unknown flag '--sed'; did you mean '--seed'?\n"


def test_a_cluster_with_one_member_is_swapped_with_nobody(models, tmp_path):
    """Within it there are no pairs: an empty figure, not a crash."""
    observed = observe_model(models[2])
    observed.__dict__["ranked"] = [[RankedCluster(0, np.array([5]), 1.0)]] * 2  # where the property keeps it
    write_swaps(observed, FigureFolder(tmp_path), Choices(swapped_facet=0))
    assert len([name for name in files(tmp_path) if name.startswith("swap_clusters_0_0/")]) == 4
