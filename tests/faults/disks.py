"""Small disks for tests: a tmpfs that is mounted for real, where that is allowed."""

from __future__ import annotations

import subprocess
from pathlib import Path


def mount(folder: Path, options: str) -> None:
    """Mount a tmpfs, or change one that is mounted there (`remount,...`)."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, capture_output=True)


def can_mount(folder: Path) -> bool:
    """Whether this process may mount a tmpfs, which wants root."""
    try:
        mount(folder, "size=64k")
    except (OSError, subprocess.CalledProcessError):
        return False
    unmount(folder)
    return True


def unmount(folder: Path) -> None:
    """Take a tmpfs away, with what is on it."""
    subprocess.run(["umount", str(folder)], check=True)
