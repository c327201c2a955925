# An SDL 2 program that says which game controllers come and go and what they do. Its
# controllers shake while their Y is held. It needs libSDL2 alone.
#
# It also opens each as a file, as programs without SDL do.
import ctypes
import errno
import os
import stat
import struct

sdl = ctypes.CDLL("libSDL2-2.0.so.0")
sdl.SDL_CreateWindow.restype = ctypes.c_void_p
sdl.SDL_CreateWindow.argtypes = [ctypes.c_char_p] + [ctypes.c_int] * 4 + [ctypes.c_uint32]
sdl.SDL_GetWindowSurface.restype = ctypes.c_void_p
sdl.SDL_GetWindowSurface.argtypes = [ctypes.c_void_p]
sdl.SDL_UpdateWindowSurface.argtypes = [ctypes.c_void_p]
sdl.SDL_GameControllerOpen.restype = ctypes.c_void_p
sdl.SDL_GameControllerFromInstanceID.restype = ctypes.c_void_p
sdl.SDL_GameControllerGetJoystick.restype = ctypes.c_void_p
sdl.SDL_GetError.restype = ctypes.c_char_p
for name in ("Close", "GetJoystick"):
    getattr(sdl, "SDL_GameController" + name).argtypes = [ctypes.c_void_p]
sdl.SDL_JoystickInstanceID.argtypes = [ctypes.c_void_p]
sdl.SDL_GameControllerRumble.argtypes = [ctypes.c_void_p, ctypes.c_uint16, ctypes.c_uint16, ctypes.c_uint32]
VIDEO, CONTROLLER, QUIT, RESIZABLE = 0x20, 0x2000, 0x100, 0x20
AXIS, DOWN, UP, ADDED, REMOVED = 0x650, 0x651, 0x652, 0x653, 0x654
Y = 3


def say(*words):
    print(*words, flush=True)


if sdl.SDL_Init(VIDEO | CONTROLLER) != 0:
    raise SystemExit("SDL_Init failed")
window = sdl.SDL_CreateWindow(b"gamepad", 0, 0, 640, 480, RESIZABLE)
sdl.SDL_GetWindowSurface(window)
sdl.SDL_UpdateWindowSurface(window)
event = ctypes.create_string_buffer(64)
numbers, free, files = {}, [0, 1, 2, 3], {}
while True:
    if not sdl.SDL_WaitEvent(event):
        continue
    kind, = struct.unpack_from("I", event, 0)
    which, code = struct.unpack_from("iB", event, 8)
    if kind == QUIT:
        break
    if kind == ADDED:
        pad = sdl.SDL_GameControllerOpen(which)
        if not pad:
            raise SystemExit("SDL_GameControllerOpen failed: %s" % sdl.SDL_GetError())
        instance = sdl.SDL_JoystickInstanceID(sdl.SDL_GameControllerGetJoystick(pad))
        numbers[instance] = free.pop(0)
        number = numbers[instance]
        files[number] = os.open("/dev/input/event%d" % (100 + number), os.O_RDONLY | os.O_NONBLOCK)
        for st in os.fstat(files[number]), os.stat("/dev/input/event%d" % (100 + number)):
            say("file", number, stat.S_ISCHR(st.st_mode), os.major(st.st_rdev), os.minor(st.st_rdev) - 4096)
        say("added", number)
    if kind == REMOVED:
        sdl.SDL_GameControllerClose(sdl.SDL_GameControllerFromInstanceID(which))
        os.set_blocking(files[numbers[which]], True)
        try:
            while os.read(files[numbers[which]], 240):
                pass
            say("end of the file")
        except OSError as err:
            say(errno.errorcode[err.errno], numbers[which])
        os.close(files.pop(numbers[which]))
        say("removed", numbers[which])
        free.insert(0, numbers.pop(which))
    if kind == AXIS:
        say("axis", numbers[which], code, struct.unpack_from("h", event, 16)[0])
    if kind in (DOWN, UP):
        say("down" if kind == DOWN else "up", numbers[which], code)
        if code == Y:
            pad = sdl.SDL_GameControllerFromInstanceID(which)
            strong, weak = (0x8000, 0x4000) if kind == DOWN else (0, 0)
            if sdl.SDL_GameControllerRumble(pad, strong, weak, 3000 if kind == DOWN else 0) != 0:
                say("rumble failed:", sdl.SDL_GetError().decode())
