"""Run by a bare interpreter: puts itself into namespaces with a file system of its own, then becomes the inner program.

For machines without bubblewrap. Imports nothing of agentrl. One argument, the plan, as JSON:
user: make a user namespace (whoever is not root).   readable: files and folders to show, read-only.   folders, links:
to make.   disk: bytes of /tmp.   program: [descriptor, path] of the file to write.   filter: descriptor of the filter
of system calls.   environment, command: of the inner program.

    this process ──fork──▶ first process of the new process namespace: mounts, pivots, drops, filters, executes
         └─ waits for it; that ends when nobody reads its verdict (inside.py)
"""

from __future__ import annotations

import ctypes
import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
READ_ONLY, NO_SUID, NO_DEVICES = 1, 2, 4
"""Of mount_setattr."""
MNT_DETACH, AT_RECURSIVE = 2, 0x8000
PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 22, 24, 38
SECCOMP_MODE_FILTER = 2
CAP_SETGID, CAP_SETUID, NUM_CAPABILITIES = 6, 7, 64
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
MOUNT_SETATTR = 442
INSIDE_ID = 65534

libc = ctypes.CDLL(None, use_errno=True)


class Filter(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def check(result: int, what: str) -> None:
    """Raises OSError with the kernel's reason where a call has failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """One call of mount; nothing is left to chance that it has failed."""
    words = [word.encode() or None for word in (source, target, kind)]
    check(libc.mount(*words, ctypes.c_ulong(flags), options.encode() or None), f"mount {target}")


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def separate(with_user: bool) -> None:
    """Leave every namespace; the process namespace begins with the next fork."""
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
    check(libc.unshare(flags | (CLONE_NEWUSER if with_user else 0)), "unshare")
    if with_user:
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", f"{INSIDE_ID} {uid} 1")
        write("/proc/self/gid_map", f"{INSIDE_ID} {gid} 1")


def furnish(plan: dict[str, Any]) -> None:
    """A new root that holds what the plan shows, and nothing else; the old one is gone at the end."""
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    root = "/tmp"  # any folder: it is covered in this namespace alone
    mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m,nr_inodes=512")
    os.chdir(root)
    for folder in plan["folders"]:
        os.makedirs(f"{root}{folder}", mode=0o755, exist_ok=True)
    os.mkdir(f"{root}/old", 0o700)
    check(libc.syscall(ctypes.c_long(PIVOT_ROOT[os.uname().machine]), b".", b"old"), "pivot_root")
    os.chdir("/")
    for path in (*plan["readable"], "/dev/null"):
        show(path)
    for link, target in plan["links"]:
        os.symlink(target, link)
    descriptor, path = plan["program"]
    with os.fdopen(descriptor, "rb") as source, open(path, "wb") as file:
        file.write(source.read())
    check(libc.umount2(b"/old", MNT_DETACH), "umount")
    os.rmdir("/old")
    mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, f"mode=1777,size={plan['disk']},nr_inodes=4096")
    restrict("/", READ_ONLY | NO_SUID | NO_DEVICES, 0)
    os.chdir("/tmp")


def show(path: str) -> None:
    """A file or folder of the old root at its place in the new one, read-only, with what is mounted below it."""
    if os.path.isdir(f"/old{path}"):
        os.makedirs(path, mode=0o755, exist_ok=True)
    else:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o444))
    mount(f"/old{path}", path, "", MS_BIND | MS_REC)
    restrict(path, NO_SUID if path.startswith("/dev/") else READ_ONLY | NO_SUID | NO_DEVICES, AT_RECURSIVE)


def restrict(path: str, attributes: int, how: int) -> None:
    """Add attributes to a mount and keep those that it has (Linux 5.12)."""
    wanted = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    call = ctypes.c_long(MOUNT_SETATTR)
    result = libc.syscall(call, -1, path.encode(), how, ctypes.byref(wanted), ctypes.c_size_t(32))
    check(result, f"mount_setattr {path}")


def confine(descriptor: int) -> None:
    """No further privilege by any program; of root's own only those to become somebody else; the filter."""
    for capability in range(NUM_CAPABILITIES):
        if capability not in (CAP_SETUID, CAP_SETGID):
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # the numbers that this kernel does not have fail
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    steps = os.read(descriptor, 1 << 16)
    os.close(descriptor)
    loaded = Filter(len(steps) // 8, steps)
    check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(loaded), 0, 0), "seccomp")


def main() -> None:
    """Never returns."""
    plan = json.loads(sys.argv[1])
    os.umask(0o022)
    separate(plan["user"])
    child = os.fork()
    if child:
        for descriptor in (0, 1, 2, plan["program"][0], plan["filter"]):
            os.close(descriptor)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)
    try:
        os.setsid()
        furnish(plan)
        confine(plan["filter"])
        os.execve(plan["command"][0], plan["command"], plan["environment"])
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    os._exit(1)


if __name__ == "__main__":
    main()
