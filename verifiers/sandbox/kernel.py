"""The few Linux calls that the standard library does not wrap, by ctypes; each raises `OSError` when refused.

Structures and numbers are those of the kernel's own headers (linux/prctl.h, linux/landlock.h, linux/capability.h);
the Landlock numbers are the same on every architecture.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_NOATIME, MS_NODIRATIME, MS_RELATIME = 32, 1024, 2048, 1 << 21
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_SECCOMP_MODE_FILTER = 2
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_CREATE_RULESET_VERSION = 1
_LANDLOCK_RULE_PATH_BENEATH = 1
_CAPABILITY_VERSION_3 = 0x20080522
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}


def _checked(result: int, call: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{call}: {os.strerror(code)}")
    return result


def _syscall(call: str, number: int, *arguments: object) -> int:
    wide = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *wide), call)


def _prctl(call: str, option: int, *arguments: object) -> None:
    wide = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in arguments]
    wide += [ctypes.c_ulong(0)] * (4 - len(wide))
    _checked(_libc.prctl(option, *wide), call)


def unshare(flags: int) -> None:
    """Leave the namespaces named by the CLONE_NEW flags."""
    _checked(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount a file system, bind a folder, or change how it is bound."""
    texts = (one.encode() or None for one in (source, target, kind))
    _checked(_libc.mount(*texts, ctypes.c_ulong(flags), options.encode() or None), f"mount {target}")


def enter_root(folder: str) -> None:
    """Make the folder the root and forget the old one: pivot_root(2) onto itself, then detach."""
    os.chdir(folder)
    _syscall("pivot_root", _PIVOT_ROOT[os.uname().machine], b".", b".")
    _checked(_libc.umount2(b".", MNT_DETACH), "umount")
    os.chdir("/")


def die_with_parent() -> None:
    """Ask for SIGKILL when the parent ends; a change of user clears it, so it is asked again after one."""
    _prctl("pdeathsig", _PR_SET_PDEATHSIG, int(signal.SIGKILL))


def forbid_new_privileges() -> None:
    """no_new_privs: no set-user-id program gives anything, and an ordinary user may use seccomp and Landlock."""
    _prctl("no_new_privs", _PR_SET_NO_NEW_PRIVS, 1)


def forbid_dump() -> None:
    """No core file, and no other process of this user may read this one's memory."""
    _prctl("dumpable", _PR_SET_DUMPABLE, 0)


def drop_capabilities() -> None:
    """Give up every capability, for good: with no_new_privs none can come back."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _checked(_libc.capset(header, struct.pack("=6I", *[0] * 6)), "capset")


def apply_filter(program: bytes) -> None:
    """Attach a seccomp-BPF program to this thread; every instruction is 8 bytes."""
    buffer = ctypes.create_string_buffer(program, len(program))
    prog = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    _prctl("seccomp", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(prog))


def landlock_abi() -> int:
    """Version of Landlock in this kernel; 0 where it has none or it is switched off."""
    try:
        return _syscall("landlock", _LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION)
    except OSError:
        return 0


def landlock_create(files: int, network: int, scope: int, abi: int) -> int:
    """A ruleset that denies these rights, as a descriptor."""
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    rights = struct.pack("=QQQ", files, network, scope)[:size]
    return _syscall("landlock_create_ruleset", _LANDLOCK_CREATE_RULESET, rights, size, 0)


def landlock_allow(ruleset: int, descriptor: int, rights: int) -> None:
    """Allow rights on a file, or on a folder and all below it."""
    rule = struct.pack("=Qi", rights, descriptor)
    _syscall("landlock_add_rule", _LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_RULE_PATH_BENEATH, rule, 0)


def landlock_enforce(ruleset: int) -> None:
    """Restrict this thread, and whatever it starts, for good."""
    _syscall("landlock_restrict_self", _LANDLOCK_RESTRICT_SELF, ruleset, 0)
