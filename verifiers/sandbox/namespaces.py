"""A world of its own for one worker: no network, no other process, and a file tree of the library and 32 MB of scratch.

Built once, by the launcher, before it forks. The new root is a small tmpfs, staged over /proc (the one folder that is
everywhere and that nothing inside needs), into which the library folders are bound read-only at their own places.
"""

from __future__ import annotations

import os
import stat

from verifiers.sandbox import kernel, landlock
from verifiers.sandbox.scratch import MAX_MB, MAX_NAMES

SCRATCH = "/box"
"""Also the current directory, /tmp and /dev/shm."""
_STAGE = "/proc"
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
_LOCKED = {os.ST_NOSUID: kernel.MS_NOSUID, os.ST_NODEV: kernel.MS_NODEV, os.ST_NOEXEC: kernel.MS_NOEXEC,
           os.ST_NOATIME: kernel.MS_NOATIME, os.ST_NODIRATIME: kernel.MS_NODIRATIME,
           os.ST_RELATIME: kernel.MS_RELATIME}  # fmt: skip
"""Flags of a mount that an ordinary user must repeat when binding it again."""


def enter(owner: int) -> None:
    """Leave the namespaces of the host and its file tree; processes forked from now on get their own process ids.

    Args:
        owner: user and group id that will own the scratch folder.

    Raises:
        OSError: this machine or container refuses; the process may then be in a half-made state and must end.
    """
    flags = kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
    if os.geteuid() == 0:
        kernel.unshare(flags)
    else:
        _enter_user_namespace(flags)
    kernel.mount("", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    _build_root(owner)
    kernel.enter_root(_STAGE)
    kernel.mount("", "/", "", kernel.MS_REMOUNT | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV)
    os.chdir(SCRATCH)


def _enter_user_namespace(flags: int) -> None:
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(flags | kernel.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def _build_root(owner: int) -> None:
    wanted = [*landlock.library_folders(), *_DEVICES, "/etc/ld.so.cache"]
    links = {path: os.readlink(path) for path in wanted if os.path.islink(path)}
    kinds = {path: stat.S_ISDIR(os.stat(path).st_mode) for path in wanted if os.path.exists(path)}
    kernel.mount("tmpfs", _STAGE, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,nr_inodes=512,mode=755")
    for path, target in links.items():
        os.makedirs(os.path.dirname(_STAGE + path), exist_ok=True)
        os.symlink(target, _STAGE + path)
    # Sorted, so that a folder comes before what lies in it.
    for path in sorted(kinds.keys() - links.keys()):
        _bind(path, is_folder=kinds[path])
    for folder in (SCRATCH, "/dev"):
        os.makedirs(_STAGE + folder, exist_ok=True)
    options = f"size={MAX_MB}m,nr_inodes={MAX_NAMES},mode=700,uid={owner},gid={owner}"
    kernel.mount("tmpfs", _STAGE + SCRATCH, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC, options)
    for other in ("/tmp", "/dev/shm"):
        if not os.path.exists(_STAGE + other):
            os.symlink(SCRATCH, _STAGE + other)


def _bind(path: str, *, is_folder: bool) -> None:
    target = _STAGE + path
    if os.path.exists(target):
        return  # It lies in a folder that is already there.
    os.makedirs(target if is_folder else os.path.dirname(target), exist_ok=True)
    if not is_folder:
        os.close(os.open(target, os.O_CREAT | os.O_CLOEXEC, 0o644))
    kernel.mount(path, target, "", kernel.MS_BIND | kernel.MS_REC)
    held = os.statvfs(target).f_flag
    again = sum(flag for bit, flag in _LOCKED.items() if held & bit)
    kernel.mount("", target, "", kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | kernel.MS_NOSUID | again)
