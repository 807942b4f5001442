"""Addresses as they are shown: not one form of credentials gets through, and proper ones stay readable."""

from pathlib import Path

import pytest

from memotr.addresses import is_address, without_secrets, without_secrets_of

SECRET = "s3cr3t"
HOST = "127.0.0.1:9"

WITH_CREDENTIALS = (
    *(
        f"{scheme}://user:{SECRET}@{HOST}/x"
        for scheme in ("rtsp", "rtsps", "rtmp", "srt", "http", "https", "udp", "tcp")
    ),
    *(
        f"{scheme}://user:{SECRET}@{HOST}/x"
        for scheme in ("HTTP", "Rtsp", "ftp", "sftp", "file", "mms", "ws", "x-y+z.1")
    ),
    *(f"rtsp://user:a{sign}{SECRET}@{HOST}/x" for sign in "/#?@:;&=%!\\"),
    *(f"rtsp://user:{SECRET}{sign}b@{HOST}/x" for sign in "/#?@:;&="),
    *(f"rtsp://user:12{sign}{SECRET}@{HOST}/x" for sign in "/#?"),
    f"rtsp://{SECRET}@{HOST}/x",
    f"rtsp://:{SECRET}@{HOST}/x",
    f"rtsp://u:{SECRET}@{HOST}/x@y",
    f"rtsp://u:{SECRET}@[::1/x",
    f"rtsp://u:{SECRET}@[::1]:9/x",
    f"rtsp://u:{SECRET}@{HOST}x/y",
    f"rtsp://u:{SECRET}@",
    f"rtsp://u:{SECRET}/x",
    f"rtsp://u:{SECRET}@host:99999/x",
    f"rtsp://u:{SECRET}\uff20127.0.0.1/x",
    f"ftp:/user:{SECRET}@{HOST}/x",
    f"http:/user:{SECRET}@{HOST}/x",
    f"http:user:{SECRET}@{HOST}/x",
    f"http:///user:{SECRET}@{HOST}/x",
    f"http:\\\\user:{SECRET}@{HOST}\\x",
    f"//user:{SECRET}@{HOST}/x",
    f"user:{SECRET}@{HOST}/x",
    f"x:/user:{SECRET}@{HOST}",
    f"C:\\\\user:{SECRET}@a@{HOST}",
    f" http://user:{SECRET}@{HOST}/x",
    f"http://{HOST}/x?token={SECRET}",
    f"http://{HOST}/x?mail=a@b&token={SECRET}",
    f"http://{HOST}/x?token=a@{SECRET}",
    f"http://{HOST}/x#{SECRET}",
    f"http://{HOST}/live;token={SECRET}",
    f"http://{HOST}/live;token={SECRET}/x.mp4",
    f"http://{HOST}/live%3Btoken%3D{SECRET}/x.mp4",
    f"rtsp://{HOST}/user=admin&password={SECRET}&channel=1.sdp",
    f"rtsp://{HOST}/user=admin_password={SECRET}_channel=1.sdp",
    f"ftp://{HOST}/x;type=i?{SECRET}",
)


@pytest.mark.parametrize("address", WITH_CREDENTIALS)
def test_no_credentials_are_shown(address: str) -> None:
    assert SECRET not in without_secrets(address)
    assert SECRET not in without_secrets(f"--checkpoint={address}")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://user:pw@10.0.0.7:554/cam/1", "rtsp://10.0.0.7:554/cam/1"),
        ("http://host/a%20b.mp4?key=1#t", "http://host/a%20b.mp4"),
        ("rtsp://u:p/w@host/x", "rtsp://host/x"),
        ("rtsp://u:p?w@host/x", "rtsp://…"),
        ("rtsp://u:p;w@host/x", "rtsp://host/x"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
        ("http:/u:p@host/x", "http:/host/x"),
        ("ftp://host:21/x;type=i", "ftp://host:21/x"),
        ("udp://@239.0.0.1:1234", "udp://239.0.0.1:1234"),
        ("--set=data.root=http://u:p@host", "--set=data.root=http://host"),
        ("u:p@host/x", "…@host/x"),
    ],
)
def test_addresses_stay_readable_without_credentials(address: str, shown: str) -> None:
    assert without_secrets(address) == shown


@pytest.mark.parametrize(
    "path", ["clip.mp4", "a/b@c.mp4", "C:\\films\\a@b.mp4", "me@home?.mp4", "a//b;c=d.mp4", "0", ""]
)
def test_paths_stay_as_they_are(path: str) -> None:
    assert without_secrets(path) == path
    assert not is_address(path)


def test_messages_about_arguments() -> None:
    address = f"http://user:{SECRET}@host/w.pth?k={SECRET}"
    arguments = ["memotr", "track", "--checkpoint", address, f"--config={address}"]
    for value in (address, str(Path(address))):
        assert without_secrets_of(arguments, f"{value}: no such file") == "http://host/w.pth: no such file"
    assert without_secrets_of(arguments, "track: memotr") == "track: memotr"
