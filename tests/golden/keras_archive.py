"""Files of Keras in compressed archives: HDF5 files are mostly empty."""

import zipfile
from pathlib import Path

MODELS = (".keras", ".h5", ".weights.h5", ".list.h5")


def pack(folder: Path, target: Path) -> None:
    """Put all files of a folder into an archive."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(folder.iterdir()):
            archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes(), zipfile.ZIP_DEFLATED, 9)


def names(archive: Path) -> list[str]:
    """Names of the model files in an archive."""
    with zipfile.ZipFile(archive) as opened:
        return [name for name in opened.namelist() if name.endswith(MODELS)]


def unpack(archive: Path, name: str, folder: Path) -> Path:
    """Take a file out of an archive, with the outputs and the JSON text that belong to it."""
    stem = name.split(".")[0]
    with zipfile.ZipFile(archive) as opened:
        for member in opened.namelist():
            if member == name or member in (f"{stem}.npz", f"{stem}.json"):
                opened.extract(member, folder)
    return folder / name
