"""The system calls that a child may make: an allow-list, compiled to a seccomp-BPF program.

Threads, files by name and time are there. Not there, and so refused with EPERM: new processes, exec, sockets other than
a connected pair, signals to anyone else, ptrace, memfd, io_uring, mounts, chmod, chown, links, truncate by name (which
the first versions of Landlock do not cover), and whatever a later kernel adds. SIGKILL and SIGSTOP to itself are
refused too: a SIGKILL that the server did not send then means that the machine is out of memory.
"""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass

_ALLOWED = """
read:0:63 write:1:64 readv:19:65 writev:20:66 pread64:17:67 pwrite64:18:68 preadv:295:69 pwritev:296:70 lseek:8:62
close:3:57 close_range:436:436 dup:32:23 dup2:33:- dup3:292:24 pipe:22:- pipe2:293:59 sendfile:40:71
open:2:- openat:257:56 creat:85:- stat:4:- lstat:6:- fstat:5:80 newfstatat:262:79 statx:332:291 access:21:-
faccessat:269:48 faccessat2:439:439 readlink:89:- readlinkat:267:78 getdents:78:- getdents64:217:61 getcwd:79:17
chdir:80:49 fchdir:81:50 mkdir:83:- mkdirat:258:34 rmdir:84:- unlink:87:- unlinkat:263:35 rename:82:- renameat:264:38
renameat2:316:276 ftruncate:77:46 fsync:74:82 fdatasync:75:83 umask:95:166 flock:73:32 fadvise64:221:223 statfs:137:43
fstatfs:138:44 mmap:9:222 munmap:11:215 mremap:25:216 mprotect:10:226 madvise:28:233 brk:12:214 msync:26:227
futex:202:98 set_robust_list:273:99 rseq:334:293 set_tid_address:218:96 sched_yield:24:124 sched_getaffinity:204:123
membarrier:324:283 arch_prctl:158:- rt_sigaction:13:134 rt_sigprocmask:14:135 rt_sigreturn:15:139 rt_sigpending:127:136
rt_sigsuspend:130:133 rt_sigtimedwait:128:137 sigaltstack:131:132 pause:34:- alarm:37:- setitimer:38:103
getitimer:36:102 restart_syscall:219:128 exit:60:93 exit_group:231:94 wait4:61:260 waitid:247:95 getpid:39:172
getppid:110:173 gettid:186:178 getuid:102:174 geteuid:107:175 getgid:104:176 getegid:108:177 getresuid:118:148
getresgid:120:150 getgroups:115:158 getpgrp:111:- getpgid:121:155 getsid:124:156 getpriority:140:141 uname:63:160
sysinfo:99:179 getrlimit:97:163 getrusage:98:165 times:100:153 time:201:- gettimeofday:96:169 getcpu:309:168
clock_gettime:228:113 clock_getres:229:114 clock_nanosleep:230:115 nanosleep:35:101 getrandom:318:278 select:23:-
pselect6:270:72 poll:7:- ppoll:271:73 epoll_create:213:- epoll_create1:291:20 epoll_ctl:233:21 epoll_wait:232:-
epoll_pwait:281:22 epoll_pwait2:441:441 eventfd:284:- eventfd2:290:19 timerfd_create:283:85 timerfd_settime:286:86
timerfd_gettime:287:87 sendto:44:206 recvfrom:45:207 getsockopt:55:209 getsockname:51:204 getpeername:52:205
"""
"""Name, number on x86_64, number on aarch64 (`-`: it has no such call)."""

_MACHINES = {"x86_64": (1, 0xC000003E), "aarch64": (2, 0xC00000B7)}
"""Column of the table, and AUDIT_ARCH of linux/audit.h."""

_LOAD, _AND, _JUMP, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x05, 0x15, 0x35, 0x06
_ALLOW, _DENY, _UNKNOWN = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_KILL_PROCESS = 0x80000000
_X32 = 0x40000000
_CLONE_THREAD = 0x10000
_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1032)
"""dup, descriptor and status flags, locks, size of a pipe. F_SETOWN would send signals to another process."""
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""Is it a terminal, its size, bytes to read, blocking or not, close on exec. TIOCSTI would type for the user."""
_NAME_OF_THREAD = (15, 16)


@dataclass(frozen=True, slots=True)
class Condition:
    """What one argument of a call must be: `argument & mask` one of `values`, or none of them when `negated`."""

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    negated: bool = False


def supported() -> bool:
    """Whether the numbers of this machine's system calls are known."""
    return os.uname().machine in _MACHINES


def compile_filter(pid: int) -> bytes:
    """The BPF program for the process with this id (as it sees itself).

    Args:
        pid: the only process that may be signalled.

    Returns:
        The instructions, 8 bytes each.
    """
    column, architecture = _MACHINES[os.uname().machine]
    code = [_op(_LOAD, 4), _op(_EQUAL, architecture, 1, 0), _op(_RETURN, _KILL_PROCESS), _op(_LOAD, 0)]
    if column == 1:
        code += [_op(_AT_LEAST, _X32, 0, 1), _op(_RETURN, _DENY)]
    for entry in _ALLOWED.split():
        number = entry.split(":")[column]
        if number != "-":
            code += [_op(_EQUAL, int(number), 0, 1), _op(_RETURN, _ALLOW)]
    for numbers, conditions in _conditional(pid):
        body = b"".join(_check(one) for one in conditions) + _op(_RETURN, _ALLOW)
        code += [_op(_EQUAL, numbers[column - 1], 0, len(body) // 8), body]
    # glibc tries clone3 first and falls back to clone, whose flags can be read here, only on ENOSYS.
    code += [_op(_EQUAL, 435, 0, 1), _op(_RETURN, _UNKNOWN), _op(_RETURN, _DENY)]
    return b"".join(code)


def _conditional(pid: int) -> list[tuple[tuple[int, int], tuple[Condition, ...]]]:
    """Numbers of a call on the two machines, and what its arguments must be."""
    not_fatal = (9, 19)
    return [
        ((56, 220), (Condition(0, (_CLONE_THREAD,), mask=_CLONE_THREAD),)),  # clone
        ((62, 129), (Condition(0, (pid,)), Condition(1, not_fatal, negated=True))),  # kill
        ((234, 131), (Condition(0, (pid,)), Condition(2, not_fatal, negated=True))),  # tgkill
        ((72, 25), (Condition(1, _FCNTL),)),  # fcntl
        ((16, 29), (Condition(1, _IOCTL),)),  # ioctl
        ((157, 167), (Condition(0, _NAME_OF_THREAD),)),  # prctl
        # prlimit64: its own limits, but not that on CPU time, by which it could send itself SIGKILL.
        ((302, 261), (Condition(0, (0,)), Condition(1, (0,), negated=True))),
        # socketpair: AF_UNIX, SOCK_STREAM, which can be sent nowhere else; asyncio wakes itself up by one.
        ((53, 199), (Condition(0, (1,)), Condition(1, (1,), mask=0xF))),
    ]


def _check(condition: Condition) -> bytes:
    """Fall through when the condition holds, else return EPERM. The kernel reads these arguments as 32 bits."""
    code = [_op(_LOAD, 16 + 8 * condition.argument), _op(_AND, condition.mask)]
    count = len(condition.values)
    # A match jumps past the comparisons that are left and the one instruction after them.
    code += [_op(_EQUAL, value, count - place, 0) for place, value in enumerate(condition.values)]
    if condition.negated:
        code.append(_op(_JUMP, 1))
    code.append(_op(_RETURN, _DENY))
    return b"".join(code)


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
