#!/usr/bin/python3
# A GTK 3 program that says how it is scrolled and touched, as JSON lines.
import itertools, json
import gi
gi.require_version("Gdk", "3.0")
gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, Gtk

mask = Gdk.EventMask
wants = mask.SMOOTH_SCROLL_MASK | mask.TOUCH_MASK | mask.BUTTON_PRESS_MASK | mask.KEY_PRESS_MASK
fingers = {}
count = itertools.count(1)


def say(kind, **more):
    print(json.dumps({"type": kind, **more}), flush=True)


def scroll(_, event):
    smooth, dx, dy = event.get_scroll_deltas()
    say("scroll", smooth=smooth, dx=dx, dy=dy, control=bool(event.state & Gdk.ModifierType.CONTROL_MASK))
    return True


def touch(_, event):
    key = hash(event.sequence)
    if event.type == Gdk.EventType.TOUCH_BEGIN:
        fingers[key] = next(count)
    say(event.type.value_nick, finger=fingers[key], x=int(event.x), y=int(event.y))
    return True


window = Gtk.Window()
window.add_events(wants)
window.connect("scroll-event", scroll)
window.connect("touch-event", touch)
window.connect("button-press-event", lambda _, e: say("press", button=e.button, x=int(e.x), y=int(e.y)))
window.connect("key-press-event", lambda _, e: say("key", key=e.keyval))
window.connect("destroy", Gtk.main_quit)
window.connect("map-event", lambda _, e: say("ready"))
window.show_all()
Gtk.main()
