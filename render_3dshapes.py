"""Write a synthetic 3dshapes.h5 in the original's format, by a small ray caster.

python render_3dshapes.py                                            # all 480,000 images
python render_3dshapes.py --config_args_path configs/3dshapes_1.yml  # only the 4,800 of a configuration
python render_3dshapes.py --compare_with reference.npz               # errors against real frames, and a figure
"""

from __future__ import annotations

from interrupts import run_script

from settings.scripts import render_parser

if __name__ == "__main__":
    render_parser(__doc__).answer_help()  # what comes next takes seconds to be imported

from collections.abc import Mapping, Sequence

from config import load_config
from readers.threedshapes import N_IMAGES
from rendering.comparison import compare
from rendering.hdf5_file import write_file
from utils import UserError


def configured_variation(path: str) -> Mapping[str, Sequence[int]]:
    """Read from a configuration which value indices each factor may take.

    Raises:
        UserError: it is not one of 3DShapes.
    """
    config = load_config(["--config_args_path", path])
    if config.dataset != "fast_3dshapes":
        raise UserError(f"{path} is for {config.dataset}; give one for fast_3dshapes")
    return config.factors_variation_dict


def main(argv: Sequence[str] | None = None) -> None:
    """Render the images, or compare some with real ones."""
    arguments = render_parser(__doc__).parse_args(argv)
    if arguments.compare_with:
        compare(arguments.compare_with, arguments.figure)
        return
    path = arguments.config_args_path
    n_images = write_file(arguments.output, configured_variation(path) if path else {}, arguments.overwrite)
    print(f"{arguments.output} holds {n_images:,} of {N_IMAGES:,} images")


if __name__ == "__main__":
    run_script(main)
