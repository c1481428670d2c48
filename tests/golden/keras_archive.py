"""Files of Keras in compressed archives: HDF5 files are mostly empty, and much alike.

All files of an archive are compressed as one stream, those of a kind behind each other: that takes half the room of a
zip file, which compresses each by itself.
"""

import functools
import io
import lzma
import tarfile
from collections.abc import Collection
from pathlib import Path

MODELS = (".keras", ".h5", ".weights.h5", ".list.h5")


def pack(folder: Path, target: Path, left_out: Collection[str] = ()) -> None:
    """Put all files of a folder into an archive, but for those of some names."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    write(target, {name: path.read_bytes() for name, path in files.items() if path.name not in left_out})


def write(target: Path, files: dict[str, bytes]) -> None:
    """Make an archive; its bytes depend on the files only."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w:xz", preset=9 | lzma.PRESET_EXTREME, format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files, key=lambda name: (Path(name).suffix, name)):
            info = tarfile.TarInfo(name)
            info.size = len(files[name])
            archive.addfile(info, io.BytesIO(files[name]))


@functools.cache
def contents(archive: Path) -> dict[str, bytes]:
    """All files of an archive by name; taken apart once, as a single one costs as much as all."""
    with tarfile.open(archive) as opened:
        members = {info.name: opened.extractfile(info) for info in opened}
        return {name: member.read() for name, member in sorted(members.items()) if member is not None}


def names(archive: Path) -> list[str]:
    """Names of the model files in an archive."""
    return [name for name in contents(archive) if name.endswith(MODELS)]


def unpack(archive: Path, name: str, folder: Path) -> Path:
    """Take a file out of an archive, with the outputs and the JSON text that belong to it."""
    stem = name.split(".")[0]
    for member, data in contents(archive).items():
        if member == name or member in (f"{stem}.npz", f"{stem}.json"):
            (folder / member).write_bytes(data)
    return folder / name


def unpack_all(archive: Path, folder: Path) -> None:
    """Take all files out of an archive, into the folders they were in."""
    for member, data in contents(archive).items():
        (folder / member).parent.mkdir(parents=True, exist_ok=True)
        (folder / member).write_bytes(data)
