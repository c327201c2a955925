# An SDL 2 program that reads the motion of the mouse while F1 has switched that on, and
# prints what it got at F3. F2 switches it off. It needs libSDL2 alone.
import ctypes
import struct

sdl = ctypes.CDLL("libSDL2-2.0.so.0")
sdl.SDL_CreateWindow.restype = ctypes.c_void_p
sdl.SDL_CreateWindow.argtypes = [ctypes.c_char_p] + [ctypes.c_int] * 4 + [ctypes.c_uint32]
sdl.SDL_GetWindowSurface.restype = ctypes.c_void_p
sdl.SDL_GetWindowSurface.argtypes = [ctypes.c_void_p]
sdl.SDL_UpdateWindowSurface.argtypes = [ctypes.c_void_p]
VIDEO, KEYDOWN, MOTION, QUIT, RESIZABLE = 0x20, 0x300, 0x400, 0x100, 0x20
F1, F2, F3 = 0x4000003A, 0x4000003B, 0x4000003C

if sdl.SDL_Init(VIDEO) != 0:
    raise SystemExit("SDL_Init failed")
window = sdl.SDL_CreateWindow(b"relative", 0, 0, 640, 480, RESIZABLE)
sdl.SDL_GetWindowSurface(window)
sdl.SDL_UpdateWindowSurface(window)
event = ctypes.create_string_buffer(64)
xrel = yrel = 0
while True:
    if not sdl.SDL_WaitEvent(event):
        continue
    kind, = struct.unpack_from("I", event, 0)
    if kind == QUIT:
        break
    if kind == MOTION:
        dx, dy = struct.unpack_from("ii", event, 28)
        xrel, yrel = xrel + dx, yrel + dy
    if kind == KEYDOWN:
        key, = struct.unpack_from("i", event, 20)
        if key == F1:
            sdl.SDL_SetRelativeMouseMode(1)
            print("relative", flush=True)
        if key == F2:
            sdl.SDL_SetRelativeMouseMode(0)
        if key == F3:
            print("moved", xrel, yrel, flush=True)
            xrel = yrel = 0
