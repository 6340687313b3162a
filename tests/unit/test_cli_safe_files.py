"""The files that `--output` and `--failed-to` write."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from callbell_async.cli.safe_files import open_private
from callbell_async.errors import ConfigurationError


def write(path: Path, *, force: bool = False) -> None:
    """Write one word to the file."""
    with open_private(path, "--output", force=force) as file:
        file.write("new")


def mode(path: Path) -> int:
    """The file's permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_is_its_owners_only(tmp_path: Path) -> None:
    """Nobody but the owner can read a new file, whatever the umask permits."""
    path = tmp_path / "out.csv"
    before = os.umask(0)
    try:
        write(path)
    finally:
        os.umask(before)
    assert (path.read_text(), mode(path)) == ("new", 0o600)


def test_a_file_that_exists_is_replaced_only_by_force(tmp_path: Path) -> None:
    """A file with content is refused and check_unchanged; `--force` replaces it by one that only its owner can read."""
    path, other_name = tmp_path / "out.csv", tmp_path / "other.csv"
    path.write_text("old")
    path.chmod(0o644)
    other_name.hardlink_to(path)
    with pytest.raises(ConfigurationError, match=r"--output: .*out\.csv already exists; .*--force"):
        write(path)
    assert path.read_text() == "old"
    write(path, force=True)
    assert (path.read_text(), mode(path), other_name.read_text()) == ("new", 0o600, "old")


def test_an_empty_file_is_replaced(tmp_path: Path) -> None:
    """A file without content, as `mktemp` makes it, needs no `--force`."""
    path = tmp_path / "out.csv"
    path.touch(0o644)
    write(path)
    assert (path.read_text(), mode(path)) == ("new", 0o600)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("exists", [False, True])
def test_a_symbolic_link_is_never_followed(tmp_path: Path, force: bool, exists: bool) -> None:
    """A link that somebody put in place leads nowhere, also with `--force`."""
    target, link = tmp_path / "target", tmp_path / "out.csv"
    if exists:
        target.write_text("old")
    link.symlink_to(target)
    with pytest.raises(ConfigurationError, match="is a symbolic link; name the file itself"):
        write(link, force=force)
    assert target.exists() is exists
    assert not exists or target.read_text() == "old"


@pytest.mark.parametrize(("name", "reason"), [("none/out.csv", "No such file or directory"), (".", "Is a directory")])
def test_a_place_that_can_not_be_written_is_named(tmp_path: Path, name: str, reason: str) -> None:
    """The error names the option, the file and the reason."""
    with pytest.raises(ConfigurationError, match=f"--output: .* can't be written \\({reason}\\)"):
        write(tmp_path / name)


def test_a_device_is_written_as_it_is() -> None:
    """A device such as `/dev/null` is written, not replaced."""
    write(Path(os.devnull))
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
