"""The files that `--output` and `--failed-to` write."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbell_async import ConfigurationError, Outcome
from callbell_async.cli.input_rows import RowFile
from callbell_async.cli.output import csv_text
from callbell_async.cli.output_files import FailedRows, Outputs, open_private
from callbell_async.cli.results import RowResult
from tests.fixtures.strategies import quick


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


# --- --failed-to ------------------------------------------------------------------------------------------------------


def write_failed(source: RowFile, target: Path, *, force: bool = False) -> None:
    """Write all rows of the source as rejected ones."""
    with FailedRows(target, source, force=force) as failed:
        for row in source.rows():
            failed.add(
                row,
                RowResult(line=row.line, outcome=Outcome.REJECTED, complete=False, may_be_accepted=False, reason="x"),
            )


_cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20) | st.sampled_from(
    ["\r", 'a"b', ";", ",\n", "\t", " x "]
)


@quick
@given(rows=st.lists(st.lists(_cells, min_size=3, max_size=3)), delimiter=st.sampled_from(",;\t"))
def test_any_cell_is_unchanged_in_the_failed_rows(rows: list[list[str]], delimiter: str) -> None:
    """Any cell, with quotes, delimiters and line ends too, is read as it was written, and written as it was read."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "first.csv", Path(folder) / "second.csv"
        with first.open("w", encoding="utf-8", newline="") as file:
            file.writelines(csv_text(row, delimiter) for row in [["a", "b", "c"], *rows])
        source = RowFile(first)
        write_failed(source, second)
        again = [row.original for row in RowFile(second).rows()]
    assert again == [[*row, "rejected", "x"] for row in rows if any(cell.strip() for cell in row)]


@pytest.mark.parametrize(
    ("raw", "encoding", "written"),
    [
        ("\ufeffto\n1\n".encode(), None, "\ufeffto,outcome,reason\n1,rejected,x\n".encode()),
        (b"to\n1\n", None, b"to,outcome,reason\n1,rejected,x\n"),
        ('\ufeff{"to": 1}\n'.encode(), None, '\ufeff{"to": 1, "outcome": "rejected", "reason": "x"}\n'.encode()),
        ("sep=|\nto|a\n1|é\n".encode(), None, "sep=|\nto|a|outcome|reason\n1|é|rejected|x\n".encode()),
        ("to;a\n1;é\n".encode("cp1252"), "cp1252", "to;a;outcome;reason\n1;é;rejected;x\n".encode("cp1252")),
        ("to\n1\n".encode("utf-16"), "utf-16", "to,outcome,reason\n1,rejected,x\n".encode("utf-16")),
    ],
    ids=["BOM", "no BOM", "BOM of JSONL", "sep", "cp1252", "UTF-16"],
)
def test_the_form_of_the_input_is_kept(tmp_path: Path, raw: bytes, encoding: str | None, written: bytes) -> None:
    """The file has the byte order mark, encoding, delimiter and `sep=` line of the input, so that the same command reads it."""
    source, target = tmp_path / "in", tmp_path / "failed"
    source.write_bytes(raw)
    write_failed(RowFile(source, encoding=encoding), target)
    assert target.read_bytes() == written
    again = RowFile(target, encoding=encoding)
    assert [row.cells["outcome"] for row in again.rows()] == ["rejected"]


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl"])
def test_its_own_file_is_replaced_and_no_other(tmp_path: Path, name: str) -> None:
    """A file of an earlier `--failed-to` is replaced; any other is refused and check_unchanged, unless `--force` is given."""
    source, target = tmp_path / name, tmp_path / f"failed{Path(name).suffix}"
    source.write_text('{"to": 1}\n' if name == "in.jsonl" else "to\n1\n")
    write_failed(RowFile(source), target)
    written = target.read_bytes()
    write_failed(RowFile(source), target)
    assert target.read_bytes() == written
    for other in ("to,name\n1,Ada\n", '{"outcome": "x"}\n', "outcome,reason,to\n1,2,3\n", "sep=;\n", "\n"):
        target.write_text(other)
        with pytest.raises(ConfigurationError, match=r"--failed-to: .* already exists; give another file, or --force"):
            write_failed(RowFile(source), target)
        assert target.read_text() == other
    write_failed(RowFile(source), target, force=True)
    assert target.read_bytes() == written


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    """The file is created with the mode 0600, and never through a symbolic link."""
    source, target, link = tmp_path / "in.csv", tmp_path / "failed.csv", tmp_path / "link.csv"
    source.write_text("to\n1\n")
    write_failed(RowFile(source), target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    link.symlink_to(target)
    with pytest.raises(ConfigurationError, match="is a symbolic link"):
        write_failed(RowFile(source), link, force=True)


@pytest.mark.parametrize("option", ["failed_unknown", "force"])
def test_its_options_require_it(option: str) -> None:
    """`--failed-unknown` and `--force` without `--failed-to` are an error."""
    with pytest.raises(ConfigurationError, match=f"--{option.replace('_', '-')}: requires --failed-to"):
        Outputs(**{option: True})  # type: ignore[arg-type]
