"""The system calls that a sandboxed program is refused, as a filter for the kernel (seccomp, classic BPF).

Namespaces hide files, processes and the network; the filter takes away what they do not cover: address families that no
network namespace holds back (AF_VSOCK reaches the host of a virtual machine), memory that no limit counts (System V
segments, memfd), other processes' memory and descriptors, and the corners of the kernel that exploits start from.
"""

import platform
import struct

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
"""Where they stand in `struct seccomp_data`; of an argument the lower half (little-endian)."""
_KILL, _ALLOW = 0x80000000, 0x7FFF0000
_REFUSE, _UNKNOWN = 0x00050000 | 1, 0x00050000 | 38
"""Fail with EPERM; with ENOSYS, as if the kernel did not have it."""
_NEW_NAMESPACES = 0x7E020000
"""The CLONE_NEW* flags of clone."""
_AF_UNIX = 1
_X32 = 0x40000000
"""A second set of numbers for the same calls on x86-64."""

_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""machine -> (its AUDIT_ARCH, the column of its numbers below)."""

_REFUSED = {
    # into other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    # namespaces, mounts, roots
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    # memory that neither the address space nor the size of files counts
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "semget": (64, 190),
    "msgget": (68, 186), "mq_open": (240, 180), "io_setup": (206, 0),
    # corners of the kernel
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "bpf": (321, 280),
    "userfaultfd": (323, 282), "perf_event_open": (298, 241), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "personality": (135, 92), "syslog": (103, 116), "quotactl": (179, 60),
    "acct": (163, 89), "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "settimeofday": (164, 170), "adjtimex": (159, 171), "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
}  # fmt: skip
"""call -> its number on x86-64 and on arm64."""
_ONLY_X86 = (172, 173)
"""iopl, ioperm."""
_CLONE, _CLONE3, _PRLIMIT = (56, 220), (435, 435), (302, 261)
_SOCKET, _SOCKETPAIR = (41, 198), (53, 199)


def filter_program(machine: str = "") -> bytes | None:
    """The filter as the kernel takes it (an array of `struct sock_filter`), or None for a machine that it is not for.

    machine: as `platform.machine()` names it; default this one. Whoever installs it cannot take it off again, and all
    its children have it. A call of another architecture's table ends the process.
    """
    known = _ARCHITECTURES.get(machine or platform.machine())
    if known is None:
        return None
    architecture, column = known
    steps = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, architecture, skip_if_true=1),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
    ]
    refused = [numbers[column] for numbers in _REFUSED.values()]
    if column == 0:
        steps += [_step(_AT_LEAST, _X32, skip_if_false=1), _step(_RETURN, _KILL)]
        refused += _ONLY_X86
    for number in refused:
        steps += [_step(_EQUAL, number, skip_if_false=1), _step(_RETURN, _REFUSE)]
    # Its flags stand in memory, where a filter cannot look: C libraries then take clone.
    steps += [_step(_EQUAL, _CLONE3[column], skip_if_false=1), _step(_RETURN, _UNKNOWN)]
    steps += _by_argument(_CLONE[column], _ANY_BIT, _NEW_NAMESPACES, met=_REFUSE, otherwise=_ALLOW)
    steps += _by_argument(_PRLIMIT[column], _EQUAL, 0, met=_ALLOW, otherwise=_REFUSE)  # one's own limits alone
    for call in (_SOCKET, _SOCKETPAIR):
        steps += _by_argument(call[column], _EQUAL, _AF_UNIX, met=_ALLOW, otherwise=_REFUSE)
    return b"".join([*steps, _step(_RETURN, _ALLOW)])


def _step(code: int, value: int, skip_if_true: int = 0, skip_if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, skip_if_true, skip_if_false, value)


def _by_argument(number: int, test: int, value: int, *, met: int, otherwise: int) -> list[bytes]:
    return [
        _step(_EQUAL, number, skip_if_false=4),
        _step(_LOAD, _FIRST_ARGUMENT),
        _step(test, value, skip_if_false=1),
        _step(_RETURN, met),
        _step(_RETURN, otherwise),
    ]
