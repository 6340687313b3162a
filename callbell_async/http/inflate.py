"""Decompression in small pieces, so that a small body can't fill the memory; no I/O."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from callbell_async.errors import DownloadError

__all__ = ["Inflater"]

PIECE = 64 * 1024
"""The most bytes that are decompressed in one step."""


class Inflater:
    """Decompresses a body by its `Content-Encoding`: none, `gzip` or `deflate`.

    Raises:
        DownloadError: The encoding is another one.
    """

    def __init__(self, encoding: str) -> None:
        name = encoding.strip().lower()
        if name not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise DownloadError("the server has compressed the file in a way that was not asked for")
        self.is_compressed = name not in ("", "identity")
        self._zlib = _new()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the decompressed data in pieces; raises `DownloadError` if it is damaged."""
        if not self.is_compressed:
            yield data
            return
        while data:
            if self._zlib.eof:
                # A further member of a gzip file.
                self._zlib = _new()
            try:
                piece = self._zlib.decompress(data, PIECE)
            except zlib.error:
                raise DownloadError("the compressed file is damaged") from None
            data = self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail
            if piece:
                yield piece

    def finish(self) -> None:
        """Raise `DownloadError` if the end of a compressed file is missing."""
        if self.is_compressed and not self._zlib.eof:
            raise DownloadError("the compressed file is not complete")


def _new() -> zlib._Decompress:
    # Finds out by itself whether the data is in the format of gzip or of zlib.
    return zlib.decompressobj(zlib.MAX_WBITS | 32)
