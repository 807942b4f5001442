"""Opening of cameras by number, on Linux, macOS and Windows."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import av
import av.container
import av.device
import av.error

from memotr.errors import UserError


@dataclass(frozen=True)
class Device:
    """Address and driver of a camera for FFmpeg."""

    address: str
    driver: str
    options: dict[str, str] = field(default_factory=dict)


def camera_device(number: int, platform: str = sys.platform) -> Device:
    """Return address and driver of a camera, by its number from 0: Video4Linux, AVFoundation or DirectShow.

    Raises:
        UserError: the platform is not supported, or Windows lists no such camera.
    """
    if platform.startswith("linux"):
        return Device(f"/dev/video{number}", "v4l2")
    if platform == "darwin":
        return Device(f"{number}:none", "avfoundation", {"framerate": "30"})  # its default rate does not work
    if platform == "win32":
        names = _cameras("dshow")
        if number >= len(names):
            raise UserError(f"camera {number} does not exist; {_found(names)}")
        return Device(f"video={names[number]}", "dshow")
    raise UserError(f"cameras cannot be opened on {platform}; give an rtsp:// or http:// address instead")


def open_camera(number: int) -> av.container.InputContainer:
    """Open a camera.

    Raises:
        UserError: there is no such camera, access is denied, or this build of PyAV lacks the platform's driver.
    """
    device = camera_device(number)
    try:
        return av.open(device.address, "r", format=device.driver, options=device.options, metadata_errors="replace")
    except av.error.PermissionError as error:
        raise UserError(f"no permission to use camera {number} ({device.address}); check its access rights") from error
    except av.error.FFmpegError as error:
        found = _found(_cameras(device.driver))
        raise UserError(f"cannot open camera {number} ({device.address}): {error.strerror}; {found}") from error
    except ValueError as error:  # raised by a PyAV that was built without the driver
        reason = f"this build of PyAV was made without {device.driver}"
        raise UserError(f"cannot open camera {number}: {reason}; give an rtsp:// or http:// address instead") from error


def _cameras(driver: str) -> list[str]:
    """Return the names of the cameras that a driver lists."""
    if driver == "v4l2":
        return sorted(str(device) for device in Path("/dev").glob("video[0-9]*"))
    try:
        devices = av.device.enumerate_input_devices(driver)
    except (ValueError, av.error.FFmpegError):  # built without the driver, or the system refuses to list
        return []
    return [device.name for device in devices if "video" in device.media_types]


def _found(names: list[str]) -> str:
    return f"available are {', '.join(names)}" if names else "no camera was found"
