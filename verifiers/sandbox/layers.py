"""What is put around every child, from outside in, and which of it holds on this machine.

scrubbed environment, own session · namespaces with a small tmpfs · no user rights (when root) · limits · no new
privileges, no core, no capabilities · Landlock · seccomp. The launcher does what is done once for a worker
(`prepare`), each server what is done once for it (`close_files`), each child the rest (`confine`).
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass

from verifiers.sandbox import kernel, landlock, namespaces, seccomp

ORDER = ("limits", "namespaces", "user", "landlock", "seccomp")
_NOBODY = 1_999_999_999
"""User id of the children when the library runs as root: nobody else's, and not 65534, which others share."""
_FILE_MB = 16
_STACK_MB = 120
"""As large as Linux lets the main stack grow if it was not set before exec; deep recursion through C needs it."""
_DESCRIPTORS = 64


@dataclass(frozen=True, slots=True)
class Layers:
    """What holds for one worker."""

    names: tuple[str, ...]
    """In the order of `ORDER`."""
    owner: int
    """User and group id of the children."""
    scratch: str
    """The only folder that the program may change."""
    base_mb: int
    """Address space of a server before a program does anything."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one child."""

    memory_mb: int
    cpu_s: int


def prepare(scratch: str, without: frozenset[str]) -> Layers:
    """Build, in the launcher, what is shared by both servers.

    Args:
        scratch: an empty folder for use without namespaces; with them it is ignored.
        without: layers to leave out.

    Returns:
        The layers that will hold.

    Raises:
        OSError: namespaces are refused here; the process must end.
    """
    base_mb = _address_space_mb()
    names = {"limits"} | {name for name in ORDER if name not in without and _available(name)}
    owner = os.geteuid()
    if "namespaces" in names:
        owner = _owner(names)
        namespaces.enter(owner)
        scratch = namespaces.SCRATCH
    else:
        if not _reachable():
            names.discard("user")
        owner = _owner(names)
        if owner != os.geteuid():
            os.chown(scratch, owner, owner)
        os.chdir(scratch)
    kernel.forbid_new_privileges()
    return Layers(tuple(name for name in ORDER if name in names), owner, scratch, base_mb)


def close_files(layers: Layers, *, changes_scratch: bool) -> None:
    """Landlock, for a server and all its children."""
    if "landlock" in layers.names:
        landlock.restrict(layers.scratch if changes_scratch else None)


def confine(layers: Layers, limits: Limits) -> None:
    """Give up, in a child, everything that a program does not need; there is no way back."""
    os.setsid()
    _limit(layers.base_mb, limits)
    if layers.owner != os.geteuid():
        os.setgroups([])
        os.setresgid(layers.owner, layers.owner, layers.owner)
        os.setresuid(layers.owner, layers.owner, layers.owner)
    kernel.drop_capabilities()
    kernel.die_with_parent()
    kernel.forbid_dump()
    if "landlock" in layers.names:
        landlock.isolate_signals()
    if "seccomp" in layers.names:
        kernel.apply_filter(seccomp.compile_filter(os.getpid()))


def _limit(base_mb: int, limits: Limits) -> None:
    megabyte = 1 << 20
    for which, soft, hard in (
        (resource.RLIMIT_AS, (base_mb + limits.memory_mb) * megabyte, None),
        (resource.RLIMIT_CPU, limits.cpu_s, limits.cpu_s + 1),
        (resource.RLIMIT_FSIZE, _FILE_MB * megabyte, None),
        (resource.RLIMIT_NOFILE, _DESCRIPTORS, None),
        (resource.RLIMIT_CORE, 0, None),
        (resource.RLIMIT_STACK, _STACK_MB * megabyte, None),
    ):
        ceiling = resource.getrlimit(which)[1]
        value, top = soft, soft if hard is None else hard
        if ceiling != resource.RLIM_INFINITY:
            value, top = min(value, ceiling), min(top, ceiling)
        resource.setrlimit(which, (value, top))


def _available(name: str) -> bool:
    if name == "landlock":
        return kernel.landlock_abi() > 0
    if name == "seccomp":
        return seccomp.supported()
    return os.geteuid() == 0 if name == "user" else True


def _owner(names: set[str]) -> int:
    return _NOBODY if "user" in names else os.geteuid()


def _reachable() -> bool:
    """Whether anyone may walk to the standard library; under /root nobody else may, and imports would fail."""
    folder = os.path.dirname(os.path.realpath(os.__file__))
    while folder != "/":
        if not os.stat(folder).st_mode & 0o001:
            return False
        folder = os.path.dirname(folder)
    return True


def _address_space_mb() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    return pages * resource.getpagesize() >> 20
