"""The file that `--failed-to` writes."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbell_async import ConfigurationError, Outcome
from callbell_async.cli.failed_rows import FailedRows, Outputs
from callbell_async.cli.input_rows import RowFile
from callbell_async.cli.output import csv_text
from callbell_async.cli.row_results import RowResult
from tests.fixtures.strategies import quick


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
