"""Which addresses of the internet protocol are public; no I/O."""

from __future__ import annotations

import ipaddress

__all__ = ["is_any_address", "is_public_address"]

# The last 32 bits are an IPv4 address: the translation prefix of RFC 6052, and the form of RFC 4291 that is no longer used.
_WITH_IPV4 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
# Private, although Python does not know it in every version: site-local addresses, and local translation (RFC 8215).
_LOCAL = (ipaddress.IPv6Network("fec0::/10"), ipaddress.IPv6Network("64:ff9b:1::/48"))


def is_public_address(address: str) -> bool:
    """Return whether an address is one of the public internet: not of this machine, a private network, a multicast group or a reserved block."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if any(ip in network for network in _LOCAL):
            return False
        # An address that leads to an IPv4 address is as public as that one.
        ip = _ipv4_in(ip) or ip
    return ip.is_global and not ip.is_multicast


def _ipv4_in(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if any(ip in network for network in _WITH_IPV4):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour


def is_any_address(address: str) -> bool:
    """Return True: every address is allowed."""
    return True
