# A program that reads gamepads by the kernel's older interface, /dev/input/jsN, and says what
# it sees: it opens each that comes, asks what it is, and waits for its events by poll, without
# blocking. For each it runs jstest, too, which blocks. It has a window by SDL.
import array
import ctypes
import errno
import fcntl
import os
import pty
import re
import select
import stat
import struct
import subprocess

sdl = ctypes.CDLL("libSDL2-2.0.so.0")
sdl.SDL_CreateWindow.restype = ctypes.c_void_p
sdl.SDL_CreateWindow.argtypes = [ctypes.c_char_p] + [ctypes.c_int] * 4 + [ctypes.c_uint32]
sdl.SDL_GetWindowSurface.restype = ctypes.c_void_p
sdl.SDL_GetWindowSurface.argtypes = [ctypes.c_void_p]
sdl.SDL_UpdateWindowSurface.argtypes = [ctypes.c_void_p]
VIDEO, RESIZABLE = 0x20, 0x20
VERSION, AXES, BUTTONS, NAME, CORRECTIONS = 0x80046A01, 0x80016A11, 0x80016A12, 0x80406A13, 0x80246A22


def say(*words):
    print(*words, flush=True)


def ask(fd, request, size):
    answer = array.array("B", [0] * size)
    fcntl.ioctl(fd, request, answer, True)
    return answer.tobytes()


def add(number):
    path = "/dev/input/js%d" % number
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    for st in os.fstat(fd), os.stat(path):
        say("file", number, stat.S_ISCHR(st.st_mode), os.major(st.st_rdev), os.minor(st.st_rdev) - 4100)
    say("is", number, "%x" % struct.unpack("I", ask(fd, VERSION, 4)), ask(fd, AXES, 1)[0], ask(fd, BUTTONS, 1)[0],
        ask(fd, NAME, 64).split(b"\0")[0].decode())
    # The size in the request is that of one axis, and all eight are written, 36 bytes each.
    say("corrected", number, *[struct.unpack_from("iiii", ask(fd, CORRECTIONS, 36 * 8), 36 * axis) for axis in (0, 7)])
    poll.register(fd, select.POLLIN)
    pads[fd] = number
    master, slave = pty.openpty()  # to a file it would write late
    subprocess.Popen(["jstest", "--event", path], stdout=slave)
    os.close(slave)
    poll.register(master, select.POLLIN)
    others[master] = number, b""


def relay(fd):
    try:
        data = os.read(fd, 4096)
    except OSError:  # it has ended
        poll.unregister(fd)
        os.close(fd)
        say("jstest", others.pop(fd)[0], "ends")
        return
    number, before = others[fd]
    *lines, rest = (before + data).replace(b"\r", b"").split(b"\n")
    others[fd] = number, rest
    for line in lines:
        say("jstest", number, re.sub("time [0-9]+, ", "", line.decode()))


def read(fd):
    try:
        data = os.read(fd, 64 * 8)
    except BlockingIOError:
        say("blocking")
        return
    except OSError as err:
        say(errno.errorcode[err.errno], pads.pop(fd))
        poll.unregister(fd)
        os.close(fd)
        return
    for _, value, kind, which in struct.iter_unpack("IhBB", data):
        say("event", pads[fd], kind, which, value)


if sdl.SDL_Init(VIDEO) != 0:
    raise SystemExit("SDL_Init failed")
window = sdl.SDL_CreateWindow(b"joystick", 0, 0, 640, 480, RESIZABLE)
sdl.SDL_GetWindowSurface(window)
sdl.SDL_UpdateWindowSurface(window)
poll, pads, others = select.poll(), {}, {}
while True:
    for number in range(4):
        if number not in pads.values() and os.path.exists("/dev/input/js%d" % number):
            add(number)
    for fd, _ in poll.poll(50):
        (relay if fd in others else read)(fd)
