"""A file that appears under its name only when it is complete."""

from __future__ import annotations

import os
import secrets
from io import BufferedWriter
from pathlib import Path

from callbell_async.errors import ConfigurationError

__all__ = ["SavedFile"]


class SavedFile:
    """A new file: written under a temporary name in the same folder, then renamed. Its methods block.

    Args:
        target: The file; or a folder, in which the file is called `name`. With a slash at the end it is a folder.
        name: A safe file name.
        overwrite: Whether a file that exists is replaced.

    Attributes:
        path: The path of the complete file.
    """

    def __init__(self, target: str | Path, name: str, *, overwrite: bool) -> None:
        self.path = Path(target)
        # A folder by its name, which may be missing: then it is an error, and not a file of this name.
        self._is_folder = str(target).endswith(("/", os.sep))
        self._name = name
        self._overwrite = overwrite
        self._file: BufferedWriter | None = None

    def open(self) -> None:
        """Create the temporary file; raises `ConfigurationError` if the file exists, and `OSError` if the folder can't be written."""
        if self._is_folder or self.path.is_dir():
            self.path = self.path / self._name
        if not self._overwrite and os.path.lexists(self.path):
            raise _exists()
        self._file = self.path.with_name(f".{secrets.token_hex(8)}.part").open("xb")

    def write(self, data: bytes) -> None:
        """Add data to the file."""
        self._open_file().write(data)

    def commit(self) -> None:
        """Give the complete file its name."""
        file = self._open_file()
        file.flush()
        os.fsync(file.fileno())
        file.close()
        temporary = Path(file.name)
        if self._overwrite:
            temporary.replace(self.path)
            return
        try:
            # Unlike a rename, it never replaces a file.
            self.path.hardlink_to(temporary)
        except FileExistsError:
            raise _exists() from None
        except OSError:
            # A file system without hard links.
            if os.path.lexists(self.path):
                raise _exists() from None
            temporary.rename(self.path)

    def discard(self) -> None:
        """Remove the temporary file, if there is one."""
        if self._file is not None:
            try:
                # Fails when the disk is full.
                self._file.close()
            finally:
                Path(self._file.name).unlink(missing_ok=True)

    def _open_file(self) -> BufferedWriter:
        if self._file is None:
            raise ValueError("the file is not open")
        return self._file


def _exists() -> ConfigurationError:
    return ConfigurationError("path: a file of this name exists; give another path, or overwrite=True to replace it")
