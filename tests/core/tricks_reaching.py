"""What a model's program may try to reach: the network, files, other processes, the kernel, its own tests.

Each defines `attack()`, which returns something true where it has reached what it should not.
"""

REACHES = {
    "TCP": """
import socket
def attack():
    socket.create_connection(("127.0.0.1", PORT), 1)
    return "connected"
""",
    "TCP to an address outside": """
import socket
def attack():
    socket.socket(socket.AF_INET).connect(("192.0.2.1", 80))
    return "connected"
""",
    "UDP": """
import socket
def attack():
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", PORT))
""",
    "a name is looked up": """
import socket
def attack():
    return socket.getaddrinfo("example.org", 80)
""",
    "IPv6": """
import socket
def attack():
    return socket.socket(socket.AF_INET6)
""",
    "raw sockets": """
import socket
def attack():
    return [k for k in (socket.SOCK_RAW,) if socket.socket(socket.AF_INET, k, 1)]
""",
    "packet sockets": """
import socket
def attack():
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
""",
    "netlink": """
import socket
def attack():
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
""",
    "the host of a virtual machine (vsock)": """
import socket
def attack():
    return socket.socket(40, socket.SOCK_STREAM)
""",
    "unix sockets of the outside": """
import socket
def attack():
    s = socket.socket(socket.AF_UNIX)
    s.connect(SOCKET)
    return "connected"
""",
    "abstract unix sockets of the outside": """
import socket
def attack():
    s = socket.socket(socket.AF_UNIX)
    s.connect(chr(0) + NAME)
    return "connected"
""",
    "system's files": """
def attack():
    return open("/etc/passwd").read()
""",
    "password hashes": """
def attack():
    return open("/etc/shadow").read()
""",
    "a file of the outside": """
def attack():
    return open(SECRET_FILE).read()
""",
    "the folder that it was started from": """
import os
def attack():
    return [n for n in os.listdir(".") if n in ("pyproject.toml", "agentrl")] or os.path.exists(CHECKOUT)
""",
    "home": """
import os
def attack():
    return [p for p in ("/root", "/home") if os.path.isdir(p) and any("bash" in n or "ssh" in n for n in os.listdir(p))]
""",
    "what the whole disk holds": """
import os
def attack():
    known = {"usr", "lib", "lib32", "lib64", "dev", "tmp", "sandbox", PREFIX}
    return set(os.listdir("/")) - known
""",
    "environment variables": """
import os
def attack():
    return [n for n in os.environ if "SECRET" in n or n in ("PATH", "USER", "AGENTRL_CACHE")]
""",
    "environment of the first process": """
def attack():
    return open("/proc/1/environ", "rb").read()
""",
    "descriptors of its parent, by /proc": """
import os
def attack():
    return os.listdir(f"/proc/{os.getppid()}/fd")
""",
    "memory of its parent, by /proc": """
import os
def attack():
    return open(f"/proc/{os.getppid()}/mem", "rb")
""",
    "kernel's settings, by /proc and /sys": """
import os
def attack():
    return os.path.exists("/proc/sys") or os.path.exists("/sys/fs/cgroup")
""",
    "descriptors that were left open": """
import os
def attack():
    found = []
    for number in range(5, 64):
        try:
            found.append(os.fstat(number))
        except OSError:
            pass
    return found
""",
    "standard input": """
import os, sys
def attack():
    return sys.stdin.read() or os.read(0, 100)
""",
    "the job, by standard input from its beginning": """
import os
def attack():
    os.lseek(0, 0, 0)
    return os.pread(0, 1000, 0)
""",
    "writes to the root": """
def attack():
    return open("/planted", "w").write("x")
""",
    "writes to the interpreter": """
import os, sys
def attack():
    return open(os.path.join(os.path.dirname(os.__file__), "planted.py"), "w").write("x")
""",
    "writes over the interpreter": """
import sys
def attack():
    return open(sys.executable, "r+b")
""",
    "writes to the examiner": """
def attack():
    return open("/sandbox/inside.pyc", "r+b")
""",
    "a file that outlives the run": """
import os
def attack():
    was_there = os.path.exists("/tmp/planted")
    open("/tmp/planted", "w").write("x")
    return was_there
""",
    "symbolic links to the outside": """
import os
def attack():
    os.symlink(SECRET_FILE, "/tmp/link")
    return open("/tmp/link").read()
""",
    "hard links to what is read-only": """
import os
def attack():
    os.link(os.__file__, "/tmp/hard")
    return True
""",
    "paths upwards": """
def attack():
    return open("../../../../../.." + SECRET_FILE).read()
""",
    "devices": """
import os
def attack():
    os.mknod("/tmp/disk", 0o60666, os.makedev(8, 0))
    return open("/tmp/disk", "rb")
""",
    "other programs": """
import os, subprocess
def attack():
    for program in ("/bin/sh", "/usr/bin/env", "/usr/bin/id", "/bin/busybox"):
        if os.path.exists(program):
            return subprocess.check_output([program])
""",
    "a privilege by a program (setuid)": """
import os, shutil, sys
def attack():
    shutil.copy(sys.executable, "/tmp/python")
    os.chmod("/tmp/python", 0o6755)
    os.chown("/tmp/python", 0, 0)
    return True
""",
    "root's account": """
import os
def attack():
    os.setuid(0)
    return True
""",
    "root's account, by ctypes": """
import ctypes
def attack():
    libc = ctypes.CDLL(None)
    return 0 in (libc.setuid(0), libc.setresuid(0, 0, 0), libc.setgid(0))
""",
    "ptrace": """
import ctypes, os
def attack():
    libc = ctypes.CDLL(None)
    return libc.ptrace(16, os.getppid(), 0, 0) == 0 or libc.ptrace(16, 1, 0, 0) == 0
""",
    "memory of the examiner, by the kernel": """
import ctypes
class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
def attack():
    libc = ctypes.CDLL(None)
    mine = ctypes.create_string_buffer(8)
    here = Vector(ctypes.addressof(mine), 8)
    there = Vector(id(attack), 8)  # the same place: it is a fork
    return libc.process_vm_readv(1, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) > 0
""",
    "descriptors of the examiner, by the kernel": """
import ctypes
def attack():
    libc = ctypes.CDLL(None)
    pidfd = libc.syscall(434, 1, 0)
    return any(libc.syscall(438, pidfd, number, 0) >= 0 for number in range(8)) if pidfd >= 0 else False
""",
    "mounts": """
import ctypes
def attack():
    return ctypes.CDLL(None).mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0
""",
    "unmounting": """
import ctypes
def attack():
    libc = ctypes.CDLL(None)
    return libc.umount2(b"/tmp", 2) == 0 or libc.umount2(b"/", 2) == 0
""",
    "namespaces of its own": """
import ctypes
def attack():
    return ctypes.CDLL(None).unshare(0x10000000) == 0
""",
    "namespaces by clone and clone3": """
import ctypes
def attack():
    libc = ctypes.CDLL(None)
    made = [libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0), libc.syscall(435, ctypes.create_string_buffer(88), 88)]
    return any(number >= 0 for number in made)
""",
    "another root": """
import os
def attack():
    os.chroot("/tmp")
    return True
""",
    "files by handle": """
import ctypes
def attack():
    libc = ctypes.CDLL(None)
    handle = ctypes.create_string_buffer(bytes([128, 0, 0, 0]) + bytes(200))
    return libc.name_to_handle_at(-100, b"/", handle, ctypes.byref(ctypes.c_int()), 0) == 0
""",
    "the kernel's keys, programs and counters": """
import ctypes
def attack():
    libc = ctypes.CDLL(None)
    calls = ((250, 0, -3, 1), (321, 0, 0, 0), (298, 0, 0, -1), (323, 0), (425, 8, 0), (101, 0, 0, 0), (246, 0, 0, 0))
    return [call for call in calls if libc.syscall(*call) >= 0]
""",
    "the other table of system calls (x32)": """
import ctypes, os
def attack():
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).syscall(0x40000000 + 41, 2, 1, 0)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0
""",
    "a filter in place of the filter": """
import ctypes
def attack():
    libc = ctypes.CDLL(None)
    libc.prctl(22, 0, 0, 0, 0)
    return libc.unshare(0x10000000) == 0 or libc.prctl(38, 0, 0, 0, 0) == 0
""",
    "its own limits": """
import resource
def attack():
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE):
        try:
            resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            return kind
        except (ValueError, OSError):
            pass
""",
    "the examiner's limits": """
import os, resource
def attack():
    return resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, 0))
""",
    "processes outside": """
import os
def attack():
    found = []
    for pid in (PID, PARENT):
        try:
            os.kill(pid, 0)
            found.append(pid)
        except OSError:
            pass
    return found
""",
    "shared memory of the outside": """
import os
def attack():
    return os.path.exists("/dev/shm") or os.path.exists("/dev/mqueue")
""",
    "terminals and disks": """
import os
def attack():
    return [n for n in ("tty", "ptmx", "sda", "vda", "kmsg", "mem", "fuse", "kvm") if os.path.exists("/dev/" + n)]
""",
    "installed packages": """
def attack():
    import importlib.util
    return [name for name in ("numpy", "torch", "agentrl", "pip_vendor") if importlib.util.find_spec(name)]
""",
    "a library that it writes itself (dlopen)": """
import ctypes
def attack():
    open("/tmp/own.so", "wb").write(b"\\x7fELF" + bytes(60))
    return ctypes.CDLL("/tmp/own.so")
""",
    "builtins behind __subclasses__": """
def attack():
    for kind in ().__class__.__base__.__subclasses__():
        if kind.__name__ == "_wrap_close":
            return kind.__init__.__globals__["listdir"](CHECKOUT)
""",
    "tests, by importing them": """
def attack():
    import tests
    return tests
""",
    "tests, in all that the collector knows": """
import gc
def attack():
    mark = " ".join(("assert", "candidate(0)"))
    held = [o for o in gc.get_objects() if type(o) in (dict, list, tuple)]
    return [o for o in held if any(isinstance(item, str) and item.startswith(mark) for item in o)]
""",
    "tests, in the frames above": """
import sys
def attack():
    frame, found = sys._getframe(), []
    while frame:
        known = {**frame.f_globals, **frame.f_locals} if frame.f_globals is not globals() else {}
        found += [name for name, value in known.items() if "assert candidate" in repr(value)]
        frame = frame.f_back
    return found
""",
    "tests, among the modules": """
import sys
def attack():
    return [name for name in sys.modules if name == "tests"] or hasattr(sys.modules["__main__"], "job")
""",
}
