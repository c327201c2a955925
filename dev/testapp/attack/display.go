package attack

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/shm"
	"github.com/jezek/xgb/xproto"
	"github.com/jezek/xgb/xtest"
	"golang.org/x/sys/unix"
)

// cookieName is in each cookie of a display.
const cookieName = "MIT-MAGIC-COOKIE-1"

// displayKeylog reads keys and pictures of another display.
func displayKeylog(_ ctx, a *attacker) Result {
	return a.displays(func(conn *xgb.Conn) (string, error) {
		if _, err := xproto.QueryKeymap(conn).Reply(); err != nil {
			return "", err
		}
		root := xproto.Setup(conn).DefaultScreen(conn).Root
		picture, err := xproto.GetImage(conn, xproto.ImageFormatZPixmap, xproto.Drawable(root), 0, 0, 16, 16, 0xffffffff).Reply()
		if err != nil {
			return "", err
		}
		text := ""
		if atom, err := xproto.InternAtom(conn, true, uint16(len(baitProperty)), baitProperty).Reply(); err == nil && atom.Atom != 0 {
			if p, err := xproto.GetProperty(conn, false, root, atom.Atom, xproto.AtomString, 0, 64).Reply(); err == nil {
				text = string(p.Value)
			}
		}
		return fmt.Sprintf("reads keys, %d bytes of picture, %s", len(picture.Data), a.secret(text)), nil
	})
}

// displayInject sends input to another display: a motion by nothing.
func displayInject(_ ctx, a *attacker) Result {
	return a.displays(func(conn *xgb.Conn) (string, error) {
		if err := xtest.Init(conn); err != nil {
			return "", err
		}
		err := xtest.FakeInputChecked(conn, xproto.MotionNotify, 1, 0, xproto.WindowNone, 0, 0, 0).Check()
		return "takes input", err
	})
}

// displays tries to enter every display that is not the seat's, with every cookie that
// can be found, the seat's own, and none.
func (a *attacker) displays(use func(*xgb.Conn) (string, error)) Result {
	cookies, _ := filepath.Glob("/tmp/.nearcast-*/x/*")
	cookies = append(append(cookies, a.Authorities...), os.Getenv("XAUTHORITY"), "/nonexistent")
	sockets := a.Displays
	for _, socket := range a.Displays {
		sockets = append(sockets, "@"+socket)
	}
	for _, name := range listedSockets() {
		if strings.Contains(name, "/.X11-unix/") && a.mayTry(name) {
			sockets = append(sockets, name)
		}
	}
	xgb.Logger.SetOutput(io.Discard)
	tried := map[string]bool{}
	for _, socket := range sockets {
		if tried[socket] || a.isOwn(socket) {
			continue
		}
		tried[socket] = true
		got, err := enter(socket, cookies, use)
		if err != nil {
			a.refuse(socket, err)
		} else {
			a.succeed("%s: %s", socket, got)
		}
	}
	return a.result()
}

// enter connects to a display with one of the cookies, and uses it.
func enter(socket string, cookies []string, use func(*xgb.Conn) (string, error)) (got string, err error) {
	for _, cookie := range cookies {
		var plain net.Conn
		if plain, err = net.Dial("unix", socket); err != nil {
			return "", err
		}
		_ = plain.SetDeadline(time.Now().Add(2 * time.Second))
		os.Setenv("XAUTHORITY", cookie) // where xgb looks
		var conn *xgb.Conn
		if conn, err = xgb.NewConnNet(plain); err != nil {
			_ = plain.Close()
			continue
		}
		if got, err = use(conn); err == nil {
			return got, nil
		}
	}
	return "", err
}

// displaySquat listens where another seat's display may want to, or be looked for.
func displaySquat(_ ctx, a *attacker) Result {
	for _, victim := range a.Displays {
		if _, err := os.Lstat(victim); err != nil {
			a.refuse(victim, err) // the directory is the seat's own
			continue
		}
		socket := filepath.Join(filepath.Dir(victim), "X59999")
		listener, err := net.Listen("unix", socket)
		if err == nil {
			err = listener.Close() // removes it
		}
		a.try("listened at "+socket+", beside the other seat's display", err)
	}
	return a.result()
}

// displayFonts asks the seat's own X server whether a directory exists that the app
// cannot see: a font path is taken only if it does.
func displayFonts(_ ctx, a *attacker) Result {
	if a.Fonts == "" || os.Getenv("DISPLAY") == "" {
		a.lack("no directory was given, or there is no display")
		return a.result()
	}
	if _, err := os.Stat(a.Fonts); err == nil {
		a.lack("the app itself sees %s", a.Fonts)
		return a.result()
	}
	conn, err := xgb.NewConn()
	if err != nil {
		a.refuse("connect to the own display", err)
		return a.result()
	}
	defer conn.Close()
	set := func(path string) error {
		for len(path)%4 != 0 { // xgb fills up each name, the protocol only the list
			path += "/"
		}
		return xproto.SetFontPathChecked(conn, 1, []xproto.Str{{NameLen: byte(len(path)), Name: path}}).Check()
	}
	real, none := set(a.Fonts), set(a.Fonts+"-that-is-not")
	switch {
	case real == nil && none != nil:
		a.succeed("the X server sees %s, which the app does not", a.Fonts)
	case real != nil:
		a.refuse("font path", errors.New("the X server does not see it: "+real.Error()))
	default:
		a.refuse("font path", errors.New("the X server takes every path"))
	}
	return a.result()
}

// displayShm lets the seat's own X server attach the memory of another seat, and reads
// it as a picture.
func displayShm(_ ctx, a *attacker) Result {
	if os.Getenv("DISPLAY") == "" {
		a.lack("there is no display")
		return a.result()
	}
	conn, err := xgb.NewConn()
	if err == nil {
		err = shm.Init(conn)
	}
	if err != nil {
		a.refuse("connect to the own display", err)
		return a.result()
	}
	defer conn.Close()
	for _, s := range a.SharedMemory {
		got, err := borrow(conn, s)
		switch {
		case err != nil:
			a.refuse(s.Role, err)
		case a.Canary != "" && s.Role == RoleBait && sameColours(got, []byte(a.Canary)):
			a.succeed("%s: the X server drew the other seat's secret", s.Role)
		case s.Role == RoleBait:
			a.refuse(s.Role, errNotVisible)
		default:
			a.succeed("%s: the X server attached it", s.Role)
		}
	}
	return a.result()
}

// borrow draws the beginning of a segment into a pixmap, and reads that.
func borrow(conn *xgb.Conn, s Segment) ([]byte, error) {
	var desc unix.SysvShmDesc
	if _, err := unix.SysvShmCtl(s.ID, unix.IPC_STAT, &desc); err == nil && uint64(desc.Segsz) != s.Size {
		return nil, errNotVisible
	}
	segment, err := shm.NewSegId(conn)
	if err != nil {
		return nil, err
	}
	if err := shm.AttachChecked(conn, segment, uint32(s.ID), false).Check(); err != nil {
		return nil, err
	}
	defer shm.Detach(conn, segment)
	screen := xproto.Setup(conn).DefaultScreen(conn)
	pixmap, err := xproto.NewPixmapId(conn)
	if err != nil {
		return nil, err
	}
	gc, err := xproto.NewGcontextId(conn)
	if err != nil {
		return nil, err
	}
	const width = 8 // 32 bytes
	xproto.CreatePixmap(conn, screen.RootDepth, pixmap, xproto.Drawable(screen.Root), width, 1)
	xproto.CreateGC(conn, gc, xproto.Drawable(pixmap), 0, nil)
	err = shm.PutImageChecked(conn, xproto.Drawable(pixmap), gc, width, 1, 0, 0, width, 1, 0, 0,
		screen.RootDepth, xproto.ImageFormatZPixmap, 0, segment, 0).Check()
	if err != nil {
		return nil, err
	}
	picture, err := xproto.GetImage(conn, xproto.ImageFormatZPixmap, xproto.Drawable(pixmap), 0, 0, width, 1, 0xffffffff).Reply()
	if err != nil {
		return nil, err
	}
	return picture.Data, nil
}

// sameColours compares pixels, of which every fourth byte has no meaning.
func sameColours(picture, text []byte) bool {
	n := min(len(picture), len(text))
	for i := range n {
		if i%4 != 3 && picture[i] != text[i] {
			return false
		}
	}
	return n >= 16
}
