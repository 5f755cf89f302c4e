"""Which files a worker may touch: the standard library and shared libraries to read, its scratch folder to change.

Paths are allowed one by one, so that what stands beside the standard library (`site-packages`, which may hold a
benchmark with its answers) stays closed. Everything else, network and signals to others included, is refused as far as
this kernel's version of Landlock goes.
"""

from __future__ import annotations

import glob
import os
import sys

from verifiers.sandbox import kernel

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = 1, 2, 4, 8, 16, 32
_MAKE_DIR, _MAKE_REG = 1 << 7, 1 << 8
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_READ = _READ_FILE | _READ_DIR
_ON_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_CHANGE = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
_CLOSED = ("site-packages", "dist-packages")

_SCOPES = 3
"""Abstract sockets and signals, from version 6 on."""


def restrict(scratch: str | None) -> int:
    """Restrict this process to its files, for good.

    Args:
        scratch: the folder that may be changed; None for none.

    Returns:
        The version of Landlock that was used; 0 when there is none, and nothing is restricted then.
    """
    abi = kernel.landlock_abi()
    if not abi:
        return 0
    handled = _handled(abi)
    ruleset = kernel.landlock_create(handled, 3 if abi >= 4 else 0, _SCOPES if abi >= 6 else 0, abi)
    for path in readable():
        _allow(ruleset, path, _READ & handled)
    _allow(ruleset, "/dev/null", _READ_FILE | _WRITE_FILE)
    if scratch is not None:
        _allow(ruleset, scratch, _CHANGE & handled)
    kernel.landlock_enforce(ruleset)
    os.close(ruleset)
    return abi


def isolate_signals() -> None:
    """Put this child into a domain of its own, out of which no signal goes, not even to its server."""
    abi = kernel.landlock_abi()
    if abi >= 6:
        ruleset = kernel.landlock_create(0, 0, _SCOPES, abi)
        kernel.landlock_enforce(ruleset)
        os.close(ruleset)


def library_folders() -> list[str]:
    """Folders that hold the standard library and the shared libraries of the system."""
    standard = os.path.dirname(os.path.realpath(os.__file__))
    base = os.path.join(os.path.realpath(sys.base_prefix), "lib")
    folders = [standard, base, "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo"]
    return [folder for folder in dict.fromkeys(folders) if os.path.isdir(folder)]


def readable() -> list[str]:
    """What may be read, path by path."""
    standard, *libraries = library_folders()
    paths = [os.path.join(standard, name) for name in sorted(os.listdir(standard)) if name not in _CLOSED]
    for folder in libraries:
        paths += glob.glob(f"{folder}/*.so*") + glob.glob(f"{folder}/*-linux-gnu*")
    return [*paths, "/usr/share/zoneinfo", "/etc/ld.so.cache", "/dev/urandom", "/dev/zero"]


def _handled(abi: int) -> int:
    """Every right that this version can refuse: 13 in version 1, then one more with each of 2, 3 and 5."""
    return (1 << (13 + (abi >= 2) + (abi >= 3) + (abi >= 5))) - 1


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        folder = os.path.isdir(path)
        kernel.landlock_allow(ruleset, descriptor, rights if folder else rights & _ON_A_FILE)
    finally:
        os.close(descriptor)
