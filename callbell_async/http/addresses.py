"""Which addresses of the internet protocol are public; no I/O."""

from __future__ import annotations

import ipaddress

__all__ = ["is_any_address", "is_public_address"]

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


def is_any_address(address: str) -> bool:
    """Return True: every address is allowed."""
    return True
