"""Make the README's figures from the shipped models and curves, without training.

    python -m docs.make_graphics                       # all of them, into graphics/
    python -m docs.make_graphics mnist 3dshapes_1      # only those of two models

MNIST is downloaded where it is not in --data_dir; the 3DShapes images are rendered. Figures show the most confident
clusters only; `shell_scripts/eval_<model>.sh` draws them all.
"""

from __future__ import annotations

from interrupts import run_script

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from docs.guide_figures import same_images_twice, schedule_figure
from docs.training_curves import compared_curves
from evaluation.choices import PUBLISHED_CHOICES
from evaluation.decoding import Sampling
from evaluation.figures import composition, generations, top_examples
from evaluation.opening import observe_model
from evaluation.predictions import Observed
from flags import FlagParser
from load_model import load_model_from_save_dict
from plot_intuition import write_intuition
from plotting import save_figure
from rendering.hdf5_file import write_file
from sweeps.summary import read_curves, stability_figure
from utils import PROJECT, make_folder, write_atomically

MODELS = ("mnist", "3dshapes_1", "3dshapes_2")
"""The shipped ones."""
SWEEPS = {"digits_sweep": "digits.yml", "mnist_sweep": "mnist.yml"}
"""Shipped curves, graphics/<name>_curves.csv -> what they are of."""
NAMES = ("intuition", "two_facets", "schedule", "training_curves", *SWEEPS, *MODELS)
FOUND = ("the shape of the object", "the colour of the floor")
"""What facets 0 and 1 of the model of 3DShapes 1 cluster by."""
N_CLUSTERS, N_IMAGES = 10, 10  # rows of a figure, and images in a row


def observe_shipped(name: str, data_dir: Path, rendered_dir: Path) -> Observed:
    """Predict the test split of a shipped model; 3DShapes is rendered where it is not."""
    path = PROJECT / "pretrained_models" / f"{name}.pt"
    if not name.startswith("3dshapes"):
        return observe_model(path, data_dir=str(data_dir))
    _, config = load_model_from_save_dict(path)
    write_file(rendered_dir / "Fast_3DShapes/raw/3dshapes.h5", config.factors_variation_dict)
    return observe_model(path, data_dir=str(rendered_dir))


def model_figures(observed: Observed, temperature: float) -> Iterator[tuple[str, Figure]]:
    """By name: of each facet its most confident inputs and generated images; and all combinations of two facets."""
    for j in range(observed.config.J_n_mixtures):
        yield f"examples_facet_{j}", top_examples(observed, j, N_IMAGES, N_CLUSTERS)
        yield f"generations_facet_{j}", generations(observed, j, Sampling(N_IMAGES, temperature), N_CLUSTERS)
    yield "composition", composition(observed, (1, 0), N_CLUSTERS)


def sweep_figure(name: str) -> Figure:
    """Accuracy over epochs of a sweep's seeds, from its shipped curves of one label."""
    [(label, runs)] = read_curves(PROJECT / "graphics" / f"{name}_curves.csv").items()
    return stability_figure(label, runs, f"configs/{SWEEPS[name]}, {len(runs)} seeds")


def make(name: str, output_dir: Path, data_dir: Path, rendered_dir: Path) -> None:
    """Write the figures of one of the NAMES."""
    if name == "intuition":
        write_intuition(output_dir)
    elif name == "two_facets":
        observed = observe_shipped("3dshapes_1", data_dir, rendered_dir)
        save_small(same_images_twice(observed, FOUND), output_dir / "two_facets.png")
    elif name == "schedule":
        save_small(schedule_figure(), output_dir / "schedule.png")
    elif name == "training_curves":
        save_small(compared_curves(), output_dir / "mnist_seed3_curves.png")
    elif name in SWEEPS:
        save_small(sweep_figure(name), output_dir / f"{name}_stability.png")
    else:
        observed = observe_shipped(name, data_dir, rendered_dir)
        for kind, figure in model_figures(observed, PUBLISHED_CHOICES[name].temperature):
            save_small(figure, output_dir / f"{name}_{kind}.png")


def save_small(figure: Figure, path: Path) -> None:
    """Write a PNG, compressed as far as it goes without loss."""
    with tempfile.TemporaryDirectory() as folder:
        save_figure(figure, Path(folder) / "figure.png")
        with Image.open(Path(folder) / "figure.png") as image:
            small = image.convert("RGB")
    write_atomically(path, lambda temporary: small.save(temporary, format="PNG", optimize=True))
    print(f"wrote {path}")


def main(argv: Sequence[str] | None = None) -> int:
    """Make the figures that the words name, all where they name none."""
    parser = FlagParser(__doc__)
    parser.add_argument("figures", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)} [all]")
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="folder of MNIST [data]")
    parser.add_argument("--rendered_dir", type=Path, default=Path("results/rendered"), help="for rendered images")
    graphics = PROJECT / "graphics"
    parser.add_argument("--output_dir", type=Path, default=graphics, help="folder of the figures [graphics]")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.figures) - set(NAMES):
        parser.error(f"{', '.join(sorted(unknown))}: no such figure; choose from {', '.join(NAMES)}")
    output_dir = make_folder(arguments.output_dir)
    for name in arguments.figures or NAMES:
        make(name, output_dir, arguments.data_dir, arguments.rendered_dir)
    return 0


if __name__ == "__main__":
    run_script(main)
