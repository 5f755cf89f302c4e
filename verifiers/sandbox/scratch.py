"""Emptying the scratch folder after a program: by descriptor, never by path, and however it was left.

A tree can be deeper than any path, folders can be made without permissions, and names can be links. So nothing is
followed, one descriptor walks down and up again (nothing changes the tree any more), and there is no recursion.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time

MAX_MB = 32
MAX_NAMES = 2048
MAX_PENDING = 100
"""Folders side by side that are still to be looked into, each an open descriptor."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Scratch:
    """The scratch folder, held open.

    Args:
        path: an existing folder.
    """

    def __init__(self, path: str) -> None:
        self._top = os.open(path, _FOLDER)
        self._next_look = 0.0

    def used(self) -> bool:
        """Whether there is anything in it."""
        os.chmod(self._top, 0o700)
        return bool(os.listdir(self._top))

    def clear(self) -> None:
        """Remove everything in it.

        Raises:
            OSError: something could not be removed; the folder must not be used again.
        """
        os.chmod(self._top, 0o700)
        folder, path, names = os.dup(self._top), list[str](), [os.listdir(self._top)]
        try:
            while names[-1] or path:
                if not names[-1]:
                    names.pop()
                    folder = _replace(folder, "..")
                    os.rmdir(path.pop(), dir_fd=folder)
                elif not _unlinked(name := names[-1].pop(), folder):
                    os.chmod(name, 0o700, dir_fd=folder)
                    folder = _replace(folder, name)
                    path.append(name)
                    names.append(os.listdir(folder))
        finally:
            os.close(folder)

    def too_large(self) -> bool:
        """Whether the program put too much into it: space, or names. Looks take at most a tenth of the time."""
        started = time.monotonic()
        if started < self._next_look:
            return False
        large = self._is_large()
        self._next_look = time.monotonic() + 10 * (time.monotonic() - started)
        return large

    def _is_large(self) -> bool:
        blocks, names, folders = 0, 0, [os.dup(self._top)]
        try:
            while folders and len(folders) < MAX_PENDING and names < MAX_NAMES and blocks < MAX_MB << 11:
                folder = folders.pop()
                try:
                    found = _stats(folder, folders)
                finally:
                    os.close(folder)
                names += len(found)
                blocks += sum(found)
            return bool(folders) or names >= MAX_NAMES or blocks >= MAX_MB << 11
        finally:
            for folder in folders:
                os.close(folder)


def _replace(folder: int, name: str) -> int:
    """Open a folder from another, and close that one."""
    opened = os.open(name, _FOLDER, dir_fd=folder)
    os.close(folder)
    return opened


def _stats(folder: int, more: list[int]) -> list[int]:
    """Disk blocks (of 512 bytes) of what is in a folder; folders in it are opened and added to `more`."""
    blocks = []
    for name in os.listdir(folder):
        # The program is running: what was listed may be gone by now.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            blocks.append(found.st_blocks)
            if stat.S_ISDIR(found.st_mode) and len(more) < MAX_PENDING:
                more.append(os.open(name, _FOLDER, dir_fd=folder))
    return blocks


def _unlinked(name: str, folder: int) -> bool:
    """Remove a file or an empty folder; False for a folder that holds something."""
    if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=folder)
        return True
    try:
        os.rmdir(name, dir_fd=folder)
    except OSError:
        return False
    return True
