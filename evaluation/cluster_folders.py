"""Pictures sorted into a folder per cluster, facet_<j>/cluster_<k>/, as links or copies."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from utils import UserError, make_folder


class ClusterFolders:
    """A folder of pictures by their clusters."""

    def __init__(self, path: Path, files: Collection[Path]):
        """files: the pictures that lie in files of their own; of others the pixels are written as PNG."""
        self.path = path
        self.files = {str(file) for file in files}

    def add(self, names: Sequence[str], images: np.ndarray, clusters: np.ndarray) -> None:
        """Sort some pictures in. images: (B, C, H, W) uint8, as the model sees them; clusters: (B, J)."""
        for name, image, of_image in zip(names, images, clusters, strict=True):
            for j, k in enumerate(of_image):
                folder = self.path / f"facet_{j}" / f"cluster_{k:02d}"
                folder.mkdir(parents=True, exist_ok=True)
                if name in self.files:
                    _link_or_copy(Path(name), _free(folder / Path(name).name))
                else:
                    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
                    Image.fromarray(pixels).save(_free(folder / f"{Path(name).name.replace('#', '_')}.png"))


@contextmanager
def cluster_folders(path: Path, files: Collection[Path]) -> Iterator[ClusterFolders]:
    """A folder that is there with all its pictures once the block has ended, or not at all.

    Raises:
        UserError: it is there already and holds something, or cannot be written.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"--copy_into_folders {path}: is there and not empty; name a new folder")
    temporary = make_folder(path.absolute().parent / f".{path.name}.{os.getpid()}.tmp")
    try:
        yield ClusterFolders(temporary, files)
        if path.exists():
            path.rmdir()
        temporary.rename(path)
    except OSError as error:
        raise UserError(f"--copy_into_folders {path}: {error.strerror}; choose another place") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _free(path: Path) -> Path:
    """The path, or the first of name_2, name_3, ... that is free."""
    free, n = path, 1
    while free.exists():
        n += 1
        free = path.with_name(f"{path.stem}_{n}{path.suffix}")
    return free


def _link_or_copy(source: Path, target: Path) -> None:
    """The same file under another name where the system has hard links between the two places, else a copy."""
    try:
        os.link(os.path.realpath(source), target)
    except (OSError, NotImplementedError):
        shutil.copy2(source, target)
