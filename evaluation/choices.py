"""What can be chosen of the evaluation, in values and in words. Nothing that takes seconds is imported for it."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flags import FlagParser, non_negative_float, non_negative_int, positive_int
from settings.data_sets import MAX_MEGAPIXELS

FORMATS = ("png", "pdf", "svg")


@dataclass(frozen=True)
class Choices:
    """What can be chosen of the evaluation, under the names of the flags."""

    temperature: float = 0.3
    """Of generated images: factor on the standard deviations of p(z | c)."""
    seed: int = 0
    """Of what is drawn at random."""
    swapped_facet: int | None = None
    """The facet whose z is exchanged: 1, or the only one."""
    first_n_clusters_swapped_1: int = 3
    """So many of the most confident clusters may be the one side of a pair ..."""
    first_n_clusters_swapped_2: int = 3
    """... and so many the other."""


PUBLISHED_CHOICES = {
    "mnist": Choices(1.0, 0, 0, 10, 10),
    "svhn": Choices(0.3, 0, 1, 10, 10),
    "3dshapes_1": Choices(0.3, 0, 1, 10, 10),
    "3dshapes_2": Choices(0.3, 0, 1, 10, 10),
}
"""Configuration -> what the paper's figures of it show."""


# --- flags


def model_parser(description: str | None) -> FlagParser:
    """The flags of every script that uses a trained model."""
    parser = FlagParser(description)
    parser.add_argument(
        "--model_path", type=Path, required=True, help="save_dict.pt of a run, or a published checkpoint"
    )
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:N or mps [cpu]")
    parser.add_argument("--batch_size", type=positive_int, help="images per step [the model's eval_batch_size]")
    return parser


def evaluation_parser(description: str | None) -> FlagParser:
    """The flags of every script that draws figures of a trained model."""
    parser = model_parser(description)
    parser.add_argument(
        "--results_dir",
        type=Path,
        help="folder of the figures [evaluation/ beside a run's model, else results/<name of the file>/evaluation]",
    )
    parser.add_argument("--data_dir", help="folder of the data sets, or your own images [data]")
    parser.add_argument("--split", choices=("test", "train"), default="test", help="images to look at [test]")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=["png"], help="of every figure [png]")
    _add_choice(parser, "seed", non_negative_int, "of what is drawn at random")
    return parser


def add_generation_flags(parser: FlagParser) -> None:
    """The flag of how images are generated."""
    _add_choice(parser, "temperature", non_negative_float, "scales the standard deviation of p(z|c)")


def add_swap_flags(parser: FlagParser) -> None:
    """The flags of what is exchanged."""
    _add_choice(parser, "swapped_facet", non_negative_int, "facet whose z is exchanged", "1, or the only one")
    for which in (1, 2):
        words = f"most confident clusters that may be side {which} of a pair"
        _add_choice(parser, f"first_n_clusters_swapped_{which}", positive_int, words)


def _add_choice(
    parser: FlagParser, name: str, kind: Callable[[str], float], words: str, default: str | None = None
) -> None:
    """A flag named after a field of Choices, whose default is the field's."""
    default = default or str(getattr(Choices, name))
    parser.add_argument(f"--{name}", type=kind, default=argparse.SUPPRESS, help=f"{words} [{default}]")


def choices_of(arguments: argparse.Namespace) -> Choices:
    """What flags choose; the rest as --published says."""
    start = PUBLISHED_CHOICES.get(getattr(arguments, "published", None) or "", Choices())
    names = {field.name for field in dataclasses.fields(Choices)}
    return dataclasses.replace(start, **{name: value for name, value in vars(arguments).items() if name in names})


def generation_parser(description: str | None) -> FlagParser:
    """The flags of eval_sample_generation.py."""
    parser = evaluation_parser(description)
    add_generation_flags(parser)
    return parser


def swap_parser(description: str | None) -> FlagParser:
    """The flags of eval_compositionality.py."""
    parser = evaluation_parser(description)
    add_swap_flags(parser)
    return parser


def all_parser(description: str | None) -> FlagParser:
    """The flags of eval_all.py."""
    parser = generation_parser(description)
    add_swap_flags(parser)
    parser.add_argument(
        "--published", choices=PUBLISHED_CHOICES, help="a published configuration, whose figures these are like"
    )
    return parser


def predict_parser(description: str | None) -> FlagParser:
    """The flags of predict.py."""
    parser = model_parser(description)
    parser.add_argument("--images", nargs="+", required=True, help="a folder, images, or one .npz, .npy or .h5")
    parser.add_argument(
        "--output", type=Path, required=True, help="the table to write, .csv, .json, .npz or .parquet (needs pyarrow)"
    )
    parser.add_argument("--copy_into_folders", type=Path, metavar="DIR", help="sort the pictures by their clusters")
    parser.add_argument("--with_means", action="store_true", help="also the means m_j(x) of q(z_j|x)")
    parser.add_argument("--with_responsibilities", action="store_true", help="also q(c_j|x) of every cluster")
    parser.add_argument("--names", type=Path, help="names.json of the model's page: also the name of each cluster")
    parser.add_argument(
        "--max_megapixels", type=positive_int, default=MAX_MEGAPIXELS, help=f"of one image [{MAX_MEGAPIXELS}]"
    )
    return parser


def report_parser(description: str | None) -> FlagParser:
    """The flags of report.py."""
    parser = model_parser(description)
    parser.add_argument("--data_dir", help="folder of the data sets, or your own images [data]")
    parser.add_argument("--split", choices=("test", "train"), default="test", help="images to look at [test]")
    parser.add_argument("--map", choices=("pca", "tsne"), default="pca", help="how latents become a map [pca]")
    parser.add_argument(
        "--output", type=Path, help="the page [report.html beside a run's model, else in results/<name of the file>/]"
    )
    return parser
