#!/usr/bin/python3
# A GTK 3 program that copies and pastes what it reads as JSON lines.
import base64, json, sys
import gi
gi.require_version("Gdk", "3.0")
gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, GdkPixbuf, Gio, GLib, Gtk

board = Gtk.Clipboard.get(Gdk.SELECTION_CLIPBOARD)
owner = Gtk.Invisible()
html = Gdk.Atom.intern("text/html", False)
offered = {}


def say(**line):
    print(json.dumps(line), flush=True)


def give(_, data, info, __):
    if info == 0:
        data.set_text(offered["text"], -1)
    elif info == 1:
        data.set(html, 8, offered["html"].encode())
    else:
        data.set_pixbuf(offered["picture"])


owner.connect("selection-get", give)


def pixbuf(png):
    stream = Gio.MemoryInputStream.new_from_bytes(GLib.Bytes.new(base64.b64decode(png)))
    return GdkPixbuf.Pixbuf.new_from_stream(stream, None)


def corner(picture):
    if picture is None:
        return None
    pixels, stride = picture.get_pixels(), picture.get_rowstride()
    at = (picture.get_height() - 1) * stride + (picture.get_width() - 1) * picture.get_n_channels()
    return [picture.get_width(), picture.get_height(), *pixels[at:at + 3]]


# What GTK offers of itself for a text, and for a picture.
texts = ["UTF8_STRING", "COMPOUND_TEXT", "TEXT", "STRING", "text/plain;charset=utf-8", "text/plain"]
images = ["image/png", "image/bmp", "image/jpeg", "image/tiff"]


def copy(text=None, html=None, png=None):
    offered.clear()
    Gtk.selection_clear_targets(owner, Gdk.SELECTION_CLIPBOARD)
    names = []
    if text is not None:
        offered["text"] = text
        names += [(name, 0) for name in texts]
    if html is not None:
        offered["html"] = html
        names.append(("text/html", 1))
    if png is not None:
        offered["picture"] = pixbuf(png)
        names += [(name, 2) for name in images]
    for name, info in names:
        Gtk.selection_add_target(owner, Gdk.SELECTION_CLIPBOARD, Gdk.Atom.intern(name, False), info)
    Gtk.selection_owner_set(owner, Gdk.SELECTION_CLIPBOARD, Gdk.CURRENT_TIME)
    say(copied=True)


def paste():
    rich = board.wait_for_contents(html)
    say(text=board.wait_for_text(), html=rich and rich.get_data().decode(), picture=corner(board.wait_for_image()))


def line(source, _):
    text = source.readline()
    if not text:
        Gtk.main_quit()
        return False
    want = json.loads(text)
    copy(**want["copy"]) if "copy" in want else paste()
    return True


GLib.io_add_watch(sys.stdin, GLib.PRIORITY_DEFAULT, GLib.IO_IN | GLib.IO_HUP, line)
say(ready=True)
Gtk.main()
