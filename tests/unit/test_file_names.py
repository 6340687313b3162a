"""Names and addresses that come from outside: file names that are safe everywhere, and addresses that are public."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbell_async.http.download_guards import is_public_address
from callbell_async.models.file_names import MAX_NAME_BYTES, media_type, safe_file_name
from tests.fixtures.strategies import quick


@pytest.mark.parametrize(
    ("file_name", "url_path", "content_type", "name"),
    [
        (None, "/media/beach.jpg", "image/jpeg", "beach.jpg"),
        (None, "/media/beach.jpeg", "image/jpeg", "beach.jpeg"),
        (None, "/media/d41d8cd9", "audio/ogg; codecs=opus", "d41d8cd9.ogg"),
        (None, "/media/d41d8cd9", None, "d41d8cd9"),
        (None, "/media/na%C3%AFve%20plan.pdf", "application/pdf", "naïve plan.pdf"),
        (None, "/media/..%2F..%2Fetc%2Fpasswd", "text/plain", "passwd.txt"),
        (None, "/media/", "image/png", "media.png"),
        (None, "", "image/png", "attachment.png"),
        (None, "/..", None, "attachment"),
        ("../../.ssh/authorized_keys", "/x", None, "authorized_keys"),
        ("C:\\Users\\me\\photo.PNG", "/x", "image/png", "photo.PNG"),
        (".bashrc", "/x", None, "bashrc"),
        ("photo\r\nX: y.jpg", "/x", "image/jpeg", "photoX_ y.jpg"),
        ("photo\u202egpj.exe", "/x", "image/jpeg", "photogpj.exe.jpg"),
        ("nul.txt", "/x", "text/plain", "_nul.txt"),
        ("aux .txt", "/x", None, "_aux.txt"),
        ("CONIN$", "/x", None, "_CONIN$"),
        ("con" + " " * 200 + "x.txt", "/x", None, "_on.txt"),
        ("photo\u2028b\u2029c.jpg", "/x", "image/jpeg", "photobc.jpg"),
        ("a<b>c|d?.csv", "/x", "text/csv", "a_b_c_d_.csv"),
        ("plan. . ", "/x", None, "plan"),
        ("photo.jpg", "/x", "application/octet-stream", "photo.jpg"),
        ("x" * 300 + ".pdf", "/x", "application/pdf", "x" * (MAX_NAME_BYTES - 4) + ".pdf"),
        ("é" * 300, "/x", "application/pdf", "é" * 58 + ".pdf"),
        ("a." + "b" * 300, "/x", None, "a." + "b" * (MAX_NAME_BYTES - 2)),
    ],
)
def test_a_name_is_made_safe(file_name: str | None, url_path: str, content_type: str | None, name: str) -> None:
    """A name has no folders, no control characters and no reserved words, and the suffix of its content type."""
    assert safe_file_name(file_name, url_path, content_type) == name


@quick
@given(
    file_name=st.none() | st.text(),
    url_path=st.text(),
    content_type=st.none() | st.sampled_from(["image/jpeg", "text/csv", "x/y"]),
)
def test_every_name_is_safe(file_name: str | None, url_path: str, content_type: str | None) -> None:
    """Whatever comes from outside, the name is one part of a path, visible, writable as UTF-8, and not too long."""
    name = safe_file_name(file_name, url_path, content_type)
    assert name.strip(" .") == name != ""
    assert not set('/\\<>:"|?*') & set(name)
    assert not any(unicodedata.category(character)[0] == "C" for character in name)
    assert len(name.splitlines()) == 1
    assert len(name.encode()) <= MAX_NAME_BYTES


@pytest.mark.parametrize(
    ("content_type", "name"),
    [
        ("Image/JPEG", "image/jpeg"),
        ("audio/ogg; codecs=opus", "audio/ogg"),
        ("image", None),
        ("", None),
        (None, None),
        ("application/octet-stream", None),
        ("binary/octet-stream", None),
    ],
)
def test_the_media_type(content_type: str | None, name: str | None) -> None:
    """A media type is in lower case and without parameters; a type that means any bytes is none."""
    assert media_type(content_type) == name


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "185.199.108.153", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public_addresses(address: str) -> None:
    """Addresses of the internet are public, also an IPv4 address inside an IPv6 address."""
    assert is_public_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.0.9",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "198.18.0.1",
        "192.0.0.8",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::1",
        "2001::1",
        "3fff::1",
        "4000::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_private_addresses(address: str) -> None:
    """Addresses of this machine, of private networks, of groups and of reserved blocks are not public, in any form."""
    assert not is_public_address(address)
