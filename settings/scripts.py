"""Flags of scripts whose modules take seconds to be imported."""

from __future__ import annotations

from pathlib import Path

from flags import FlagParser


def load_parser(description: str | None) -> FlagParser:
    """The flags of load_model.py."""
    parser = FlagParser(description)
    parser.add_argument("--model_path", required=True, help="save_dict.pt of a run, or a published checkpoint")
    parser.add_argument("--export_published", metavar="FILE", help="write the model in the published layout")
    return parser


def render_parser(description: str | None) -> FlagParser:
    """The flags of render_3dshapes.py."""
    parser = FlagParser(description)
    output, figure = Path("data/Fast_3DShapes/raw/3dshapes.h5"), Path("graphics/3dshapes_real_vs_rendered.png")
    parser.add_argument("--output", type=Path, default=output, help="file to write")
    parser.add_argument("--config_args_path", help="render only the images that this configuration uses")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_argument("--compare_with", type=Path, help="measure against this .npz of real frames; writes no images")
    parser.add_argument("--figure", type=Path, default=figure, help="where --compare_with draws")
    return parser
