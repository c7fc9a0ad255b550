"""What every script shares and has no better home: user errors, seeding, devices, atomic writes.

PyTorch takes seconds to import and is not needed to read words: what needs it imports it.
"""

from __future__ import annotations

import glob
import io
import json
import os
import random
import re
import threading
import time
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PROJECT = Path(__file__).resolve().parent
"""The project's folder: what comes with the code (configs/, pretrained_models/, graphics/) lies in it."""
NOT_DRAWN = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode's categories of control codes, halves of pairs, and separators of lines and paragraphs."""
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""With which a cell begins that a spreadsheet takes for a formula."""
MAX_MESSAGE = 3000
"""Characters of an error's line; values that it quotes have at most 200 each."""


class UserError(Exception):
    """Something the user can mend: one line that says what is wrong, where, and what would be right."""

    def __init__(self, message: str):
        """Join lines, as the reasons of libraries may have several, and cut what nobody would read to the end."""
        text = " ".join(line.strip() for line in message.splitlines())
        super().__init__(printable(text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]} ..."))


def printable(text: str) -> str:
    r"""Write control codes and what is no text as escapes, like \x00, so that a text can be drawn and written."""
    return "".join(_escaped(c) if unicodedata.category(c) in NOT_DRAWN else c for c in text)


def _escaped(character: str) -> str:
    """Escape a character. A byte of a file name that is no UTF-8 is half a pair in Python: it is shown as that byte."""
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else character.encode("unicode_escape").decode()


def one_line(error: BaseException | str, length: int = 200) -> str:
    """The first `length` characters of what an error says, printable, on one line; its type where it says nothing."""
    return printable(" ".join(str(error).split())[:length]) or type(error).__name__


def shown(value: object, length: int = 200) -> str:
    """A value as an error message quotes it: the first `length` characters of its representation."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more than 4,300 digits
        return "a number of more digits than can be shown"
    return text if len(text) <= length else f"{text[:length]} ..."


def csv_cell(text: str) -> str:
    """A name as a cell of a CSV file: with an apostrophe before it where a spreadsheet would run it as a formula."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def resolve_device(name: str) -> torch.device:
    """'auto' (the GPU where there is one), 'cpu', 'cuda', 'cuda:N' or 'mps' (Apple's GPUs) -> torch.device."""
    import torch

    has_mps = torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise UserError(f"device = {shown(name)}: not a device; use auto, cpu, cuda, cuda:N or mps")
    if device.type == "mps" and not has_mps:
        raise UserError(f"device = {shown(name)}: no GPU of Apple's that PyTorch can use is here; use auto or cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device = {shown(name)}: this machine has {torch.cuda.device_count()} GPUs; use auto or cpu")
    return device


def n_processes() -> int:
    """How many processes train one model together, as torchrun says it in the environment; 1 without it.

    Raises:
        UserError: the environment does not say it as torchrun does.
    """
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys():
        return 1
    for name in ("WORLD_SIZE", "RANK", "LOCAL_WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"):
        word = os.environ.get(name, "0")
        if not (word.isascii() and word.isdecimal() and len(word) < 10):
            raise UserError(f"{name} = {shown(word)}: not as torchrun sets it; start by torchrun, or unset RANK")
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if rank >= size:
        raise UserError(
            f"RANK = {rank}, WORLD_SIZE = {size}: not as torchrun sets them; start by torchrun, or unset RANK"
        )
    return size


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch (all devices)."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Leave the global random states of Python, numpy and torch as they were found."""
    import numpy as np
    import torch

    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    mps_state = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        if mps_state is not None:
            torch.mps.set_rng_state(mps_state)


@contextmanager
def needed(package: str, purpose: str) -> Iterator[None]:
    """Around the import of an optional package: whatever is wrong with it becomes one line that names it.

    Args:
        package: what pip calls it.
        purpose: what it is needed for, as the user asked for it.

    Raises:
        UserError: the package is not there, or cannot be imported.
    """
    try:
        yield
    except Exception as error:  # a broken package raises errors of any kind
        reason = one_line(error)
        raise UserError(
            f"{purpose} needs the package {package}, which cannot be imported ({reason}): pip install '{package}'"
        ) from error


def expand_home(word: str) -> str:
    """~/x and ~user/x as shells expand them; they leave alone what is quoted, in YAML, or behind --name=."""
    flag, is_flag, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return flag + is_flag + (os.path.expanduser(value) if value.startswith("~") else value)


def make_folder(path: Path) -> Path:
    """Create a folder and its parents, or say why it cannot be written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # the latter for NUL in a name
        reason = getattr(error, "strerror", None) or one_line(error)
        raise UserError(f"cannot create the folder {path}: {reason}; choose another place") from None
    if not os.access(path, os.W_OK):
        raise UserError(f"cannot write to the folder {path}: permission denied; choose another place")
    return path


def sealed(values: Mapping[str, Any]) -> str:
    """Write values as JSON, with a checksum that `unsealed` looks at."""
    return json.dumps({"checksum": zlib.crc32(json.dumps(values).encode()), "content": values})


def unsealed(text: str | bytes) -> dict[str, Any]:
    """Read what `sealed` wrote; earlier versions wrote the values alone.

    Raises:
        ValueError: it is damaged.
    """
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if isinstance(found, dict) and found.keys() == {"checksum", "content"}:
        if zlib.crc32(json.dumps(found["content"]).encode()) != found["checksum"]:
            raise ValueError("it does not have its checksum")
        found = found["content"]
    if not isinstance(found, dict):
        raise ValueError("it is no mapping")
    return found


def check_is_file(path: Path) -> None:
    """Refuse pipes and devices: nobody may ever write into a pipe, and some devices never end.

    Raises:
        UserError: it is there, and neither a file nor a folder.
    """
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise UserError(f"{path}: a pipe or a device; a file is needed in its place")


def check_replaceable(path: Path, what: str, start: bytes) -> None:
    """Refuse to replace a file that is something else than what is to be written in its place.

    Args:
        path: where it is to be written.
        what: what it is, as in 'a page'.
        start: a regular expression of how its files begin.

    Raises:
        UserError: what is there begins in another way, or is no file.
    """
    if not os.path.exists(path):
        return
    if path.is_dir():
        raise UserError(f"cannot write {path}: there is a folder of that name; choose another one")
    with open(path, "rb") if path.is_file() else io.BytesIO(b"a device") as file:
        content = file.read(1000)
    if content and not re.match(start, content, re.DOTALL):
        raise UserError(f"{path}: is there and is not {what}, so it is not replaced; choose another name")


def load_checked(path: Path) -> Any:
    """torch.load of tensors and plain values to the host, after every part of the file has proved whole.

    PyTorch writes a checksum of each part and does not look at it again. Its files of before 2020 have none.

    Raises:
        Exception: it is damaged, or holds more than that; zipfile, pickle and torch raise errors of many kinds.
    """
    import torch

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            if sum(part.file_size for part in parts) > path.stat().st_size:
                raise zipfile.BadZipFile("it would unpack to more than it is")
            if any(part.external_attr for part in parts):  # PyTorch would take a part for a folder, and read nothing
                raise zipfile.BadZipFile("it is not as PyTorch writes it")
            if (name := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"{name} does not have its checksum")
    return torch.load(path, map_location="cpu", weights_only=True)


def write_atomically(path: Path, write: Callable[[Path], object], is_durable: bool = False) -> None:
    """Call write(temporary path beside `path`), then rename: readers see the old file or the new one, never a part.

    With is_durable not even when the machine itself stops: the content is on the disk before the name is. A full disk
    or a missing permission is a UserError; the old file stays as it was. A link stays too, and its file is written; a
    device is refused.
    """
    if "\0" in path.name:
        raise UserError(f"cannot write {path}: its name holds NUL; choose another one")
    check_is_file(path)
    path = path.resolve()
    _remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        write(temporary)
        if is_durable:
            with temporary.open("r+b") as file:  # Windows flushes only what may be written
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
        reason = getattr(error, "strerror", None) or one_line(error)
        raise UserError(f"cannot write {path}: {reason}; free some space or choose another folder") from error
    finally:
        with suppress(OSError):  # the folder itself may be what is wrong
            temporary.unlink()


def _remove_leftovers(path: Path, seconds: float = 3600) -> None:
    """Delete what a process that was killed while it wrote `path` has left; one that writes changes it every hour."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > seconds:
                leftover.unlink()
