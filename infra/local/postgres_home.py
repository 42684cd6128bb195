"""Where Postgres's programs, data and socket lie, so that the user whom it runs as can reach them.

Postgres refuses to run as root. Started by root it runs as another user (`nobody`), who must be able to enter every
folder on the way. Where the clone lies in a folder that only root may enter, programs and data lie in a folder of
their own outside while the server runs, and the data return to the clone when it stops. The socket lies outside too
where its path in the clone would be longer than the system allows.
"""

import hashlib
import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import FreshlineError

# The same for every command, whatever its TMPDIR; the folder made in it is refused where it is somebody else's.
OUTSIDE = Path("/tmp")  # noqa: S108
# sun_path holds 104 bytes on macOS and 108 on Linux; the socket's file takes up to 17 of them.
LONGEST_SOCKET_FOLDER_BYTES = 85


class PostgresHomeError(FreshlineError):
    """The folders that Postgres needs can't be had."""


@dataclass(frozen=True)
class PostgresHome:
    """The folders of one server, and the user whom it runs as (``None``: ourselves)."""

    folder: Path
    unpacked: Path
    user: str | None
    outside: Path
    # Whether programs and data lie outside while the server runs.
    moved: bool
    socket_folder: Path

    @property
    def programs(self) -> Path:
        """The folder with `postgres` and `initdb`."""
        return (self.outside / "postgres" if self.moved else self.unpacked) / "bin"

    @property
    def data(self) -> Path:
        """The data directory while the server runs."""
        return (self.outside if self.moved else self.folder) / "data"

    def move_in(self) -> None:
        """Bring everything to where the server's user can reach it. Does nothing twice.

        Raises:
            PostgresHomeError: the folder outside exists and is somebody else's.
        """
        if self.moved or self.socket_folder.parent == self.outside:
            self._own_outside()
        if self.moved:
            if not (self.outside / "postgres").exists():
                unfinished = self.outside / "postgres.unfinished"
                shutil.rmtree(unfinished, ignore_errors=True)
                shutil.copytree(self.unpacked, unfinished, symlinks=True)
                unfinished.rename(self.outside / "postgres")
            if (self.folder / "data").exists() and not self.data.exists():
                shutil.move(self.folder / "data", self.data)
                self.give(self.data)
        self.socket_folder.mkdir(exist_ok=True)
        self.give(self.socket_folder)

    def move_out(self) -> None:
        """Bring the data home and remove the folder outside. Does nothing where there is none."""
        if not self.outside.exists():
            return
        data = self.outside / "data"
        if data.exists():
            shutil.rmtree(self.folder / "data", ignore_errors=True)
            shutil.move(data, self.folder / "data")
        shutil.rmtree(self.outside)

    def give(self, path: Path) -> None:
        """Make a file, or a folder with all in it, the server's user's own."""
        if self.user is None:
            return
        owner = pwd.getpwnam(self.user)
        os.chown(path, owner.pw_uid, owner.pw_gid)
        for parent, folders, names in os.walk(path):
            for name in (*folders, *names):
                os.chown(Path(parent) / name, owner.pw_uid, owner.pw_gid, follow_symlinks=False)

    def _own_outside(self) -> None:
        try:
            self.outside.mkdir(mode=0o711)
            self.outside.chmod(0o711)  # whatever the umask
        except FileExistsError:
            found = self.outside.lstat()
            if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode):
                raise PostgresHomeError(
                    f"{self.outside} exists and is not ours: remove it, or choose another FRESHLINE_LOCAL__FOLDER",
                ) from None


def postgres_home(folder: Path, unpacked: Path, user: str) -> PostgresHome:
    """Decide where everything lies, for a stack's Postgres folder and the cache's unpacked distribution."""
    outside = OUTSIDE / f"freshline-{hashlib.sha256(bytes(folder)).hexdigest()[:12]}"
    runs_as = user if os.geteuid() == 0 else None
    moved = runs_as is not None and not (_others_may_enter(folder) and _others_may_enter(unpacked))
    fits = len(bytes(folder / "socket")) <= LONGEST_SOCKET_FOLDER_BYTES
    return PostgresHome(
        folder=folder,
        unpacked=unpacked,
        user=runs_as,
        outside=outside,
        moved=moved,
        socket_folder=(folder if fits and not moved else outside) / "socket",
    )


def _others_may_enter(folder: Path) -> bool:
    resolved = folder.resolve()
    return all(place.stat().st_mode & stat.S_IXOTH for place in (resolved, *resolved.parents) if place.exists())
