"""Protection against the server of a download: only public addresses, and decompression in small pieces; no I/O."""

from __future__ import annotations

import ipaddress
import zlib
from collections.abc import Iterator

from callbell_async.errors import DownloadError

__all__ = ["PIECE", "Inflater", "is_public_address"]

# All that is assigned in IPv6: whatever is outside leads to this machine, to a local network, or to an IPv4 address.
_IPV6 = ipaddress.IPv6Network("2000::/3")
# The last 32 bits are an IPv4 address, to which a network without IPv4 translates (RFC 6052).
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
# Reserved, although Python does not know it in every version: protocol assignments, and documentation.
_RESERVED = (ipaddress.IPv4Network("192.0.0.0/24"), ipaddress.IPv6Network("3fff::/20"))


def is_public_address(address: str) -> bool:
    """Return whether an address is one of the public internet: not of this machine, a private network, a multicast group or a reserved block."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        # An address that leads to an IPv4 address is as public as that one.
        ip = _ipv4_in(ip) or ip
    if ip.version == 6 and ip not in _IPV6:
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _RESERVED)


def _ipv4_in(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if ip in _TRANSLATED:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour


PIECE = 64 * 1024
"""The most bytes that are decompressed in one step, so that a small body can't fill the memory."""


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
