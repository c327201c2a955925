package input

import (
	"bufio"
	"encoding/json"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/display"
)

// hand is what a GTK program says of hands: a scroll, a touch, a key.
type hand struct {
	Type         string
	Smooth       bool
	DX, DY       float64
	Control      bool
	Finger, X, Y int
	Key          int
}

// gtk is a GTK program on a display with a wheel and a touch screen.
type gtk struct {
	t     *testing.T
	in    *Injector
	lines chan hand
}

func newGTK(t *testing.T) *gtk {
	t.Helper()
	if err := exec.Command("/usr/bin/python3", "-c", `import gi; gi.require_version("Gtk", "3.0")`).Run(); err != nil {
		t.Skip("python3 with gir1.2-gtk-3.0 is not installed")
	}
	d, err := display.Start(within(t), display.Config{Width: width, Height: height, Server: testkit.Xdummy(t), Touch: true, Runner: cell.Local{Dir: t.TempDir()}})
	testkit.Must(t, err)
	t.Cleanup(func() { d.Close() })
	cmd := exec.CommandContext(within(t), "/usr/bin/python3", "testdata/hands.py")
	cmd.Env = append(d.Env(), "HOME="+t.TempDir(), "PATH=/usr/bin:/bin", "NO_AT_BRIDGE=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	testkit.Must(t, err)
	p := testkit.Start(t, cmd)
	g := &gtk{t: t, lines: make(chan hand, 1000)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(out); s.Scan(); {
			var h hand
			if json.Unmarshal(s.Bytes(), &h) == nil {
				g.lines <- h
			}
		}
	}()
	t.Cleanup(func() { p.Kill(); <-read })
	testkit.Must(t, d.WaitWindow(within(t)))
	g.in, err = Open(d.Dial, d.Cookie(), width, height)
	testkit.Must(t, err)
	t.Cleanup(func() { g.in.Close() })
	testkit.Must(t, g.in.AddDevices(d.Devices().Wheel, d.Devices().Touch))
	g.until("ready")
	return g
}

func (g *gtk) apply(inputs ...wire.Input) {
	g.t.Helper()
	for _, m := range inputs {
		if err := g.in.Apply(m); err != nil {
			g.t.Fatalf("%+v: %v", m, err)
		}
	}
}

// until returns what the program says up to a line of this type.
func (g *gtk) until(what string) (all []hand) {
	g.t.Helper()
	late := time.After(30 * time.Second)
	for {
		select {
		case h := <-g.lines:
			const f8 = 0xffc5
			if h.Type == "key" && h.Key != f8 {
				continue
			}
			if all = append(all, h); h.Type == what {
				return all
			}
		case <-late:
			g.t.Fatalf("the program does not say %q, but %+v", what, all)
		}
	}
}

// said is what the program says up to now. A key shows that it has handled all before.
func (g *gtk) said() []hand {
	g.t.Helper()
	g.apply(down("F8", "F8"), up("F8", "F8"))
	all := g.until("key")
	return all[:len(all)-1]
}

func scrolled(all []hand) (dx, dy float64, smooth int) {
	for _, h := range all {
		if h.Type == "scroll" && h.Smooth {
			dx, dy, smooth = dx+h.DX, dy+h.DY, smooth+1
		}
	}
	return dx, dy, smooth
}

func near(a, b float64) bool { return math.Abs(a-b) < 0.001 }

// A program that knows XInput 2.1 scrolls by parts of a notch, and loses none: not after
// the mouse has moved, and not the first.
func TestSmoothScroll(t *testing.T) {
	g := newGTK(t)
	roll := func(dx, dy float64) { g.apply(wire.Input{Type: wire.InputWheel, DX: dx, DY: dy, X: 0.5, Y: 0.5}) }
	for range 10 {
		roll(0, 6)
	}
	if _, dy, n := scrolled(g.said()); !near(dy, 0.5) || n < 10 {
		t.Errorf("ten turns of a twentieth are %v notches in %d events", dy, n)
	}
	g.apply(wire.Input{Type: wire.InputMove, X: 0.7, Y: 0.4})
	roll(-30, 0)
	g.apply(wire.Input{Type: wire.InputMove, X: 0.5, Y: 0.4})
	roll(0, -12.5)
	if dx, dy, _ := scrolled(g.said()); !near(dx, -0.25) || !near(dy, -12.5/120) {
		t.Errorf("after motions it is %v and %v notches", dx, dy)
	}
	// Modifiers and buttons keep their order with the wheel, though they come another way.
	for range 20 {
		g.apply(down("ControlLeft", "Control"))
		roll(0, 24)
		g.apply(up("ControlLeft", "Control"))
		roll(0, 12)
	}
	held, free := 0.0, 0.0
	for _, h := range g.said() {
		if h.Type == "scroll" && h.Control {
			held += h.DY
		} else if h.Type == "scroll" {
			free += h.DY
		}
	}
	if !near(held, 4) || !near(free, 2) {
		t.Errorf("with Control it is %v notches, and without %v; want 4 and 2", held, free)
	}
}

func fingers(n uint32, at ...wire.Touch) wire.Input {
	return wire.Input{Type: wire.InputTouch, Touches: at, N: n}
}

// Two fingers are two touches, at the pixels where they are.
func TestPinch(t *testing.T) {
	g := newGTK(t)
	at := func(id uint32, x, y float64) wire.Touch { return wire.Touch{ID: id, X: x / width, Y: y / height} }
	g.apply(
		fingers(0, at(7, 200.5, 100.5)),
		fingers(0, at(7, 200.5, 100.5), at(8, 300.5, 200.5)),
		fingers(1, at(7, 150.5, 50.5), at(8, 350.5, 250.5)),
		fingers(3, at(7, 100, 40), at(8, 400, 300)),
		fingers(2, at(7, 120, 45), at(8, 380, 280)),                // late
		fingers(4, at(7, 100, 40), at(8, 400, 300), at(9, 10, 10)), // a finger that did not begin
		fingers(0, at(8, 400, 300)),
		fingers(5, at(7, 1, 1), at(8, 401, 300)), // one has gone
		wire.Input{Type: wire.InputTouch, Touches: []wire.Touch{at(8, 405, 300)}, Seq: 7},
		fingers(7, at(8, 401, 300)), // sent before it
		fingers(0),
	)
	type step struct {
		what         string
		finger, x, y int
	}
	var got []step
	for _, h := range g.said() {
		got = append(got, step{h.Type, h.Finger, h.X, h.Y})
	}
	want := []step{
		{"touch-begin", 1, 200, 100}, {"touch-begin", 2, 300, 200},
		{"touch-update", 1, 150, 50}, {"touch-update", 2, 350, 250},
		{"touch-update", 1, 100, 40}, {"touch-update", 2, 400, 300},
		{"touch-end", 1, 100, 40}, {"touch-update", 2, 401, 300}, {"touch-update", 2, 405, 300}, {"touch-end", 2, 405, 300},
	}
	if len(got) != len(want) {
		t.Fatalf("the program got %+v", got)
	}
	for i, w := range want {
		if got[i] != w {
			t.Errorf("step %d is %+v, want %+v", i, got[i], w)
		}
	}
	// Ten fingers, and all are lifted when the person is gone.
	var ten []wire.Touch
	for i := range wire.MaxTouches {
		ten = append(ten, at(uint32(20+i), float64(20+30*i), 60))
	}
	g.apply(fingers(0, ten...))
	testkit.Must(t, g.in.ReleaseAll())
	began, ended := 0, 0
	for _, h := range g.said() {
		began += strings.Count(h.Type, "begin")
		ended += strings.Count(h.Type, "end")
	}
	if began != wire.MaxTouches || ended != wire.MaxTouches {
		t.Errorf("%d fingers came, and %d went", began, ended)
	}
	for _, bad := range []wire.Input{fingers(0, append(ten, at(99, 1, 1))...), fingers(0, ten[0], ten[0]), fingers(0, at(1, math.NaN(), 1)), fingers(0, at(1, -1, 1))} {
		if err := g.in.Apply(bad); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	if got := g.said(); len(got) > 0 {
		t.Errorf("bad fingers had an effect: %+v", got)
	}
}

// A finger is a mouse for a program that takes no touches.
func TestTouchAsMouse(t *testing.T) {
	s := newStage(t, testkit.Xdummy(t))
	at := func(x, y float64) wire.Touch { return wire.Touch{ID: 1, X: x / width, Y: y / height} }
	s.apply(fingers(0, at(100, 80)))
	if e := s.next("button_press"); e.Button != 1 || e.X != 100 || e.Y != 80 {
		t.Errorf("the press is %+v", e)
	}
	s.apply(fingers(1, at(130, 90)), fingers(0, at(160, 90)), fingers(0))
	for s.next("motion").X != 160 {
	}
	if e := s.next("button_release"); e.Button != 1 || e.X != 160 || e.Y != 90 {
		t.Errorf("the release is %+v", e)
	}
	s.apply(fingers(0, at(100, 80)))
	s.next("button_press")
	s.apply(wire.Input{Type: wire.InputBlur})
	s.next("button_release")
}

// A server that an application took over may say anything, or nothing.
func TestHostileDevice(t *testing.T) {
	for name, serve := range map[string]func(net.Conn){
		"it closes":        func(c net.Conn) {},
		"it is too old":    func(c net.Conn) { c.Write([]byte{12, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}) },
		"it says nonsense": func(c net.Conn) { c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) },
		"it is silent":     func(c net.Conn) { c.Read(make([]byte, 12)); c.Read(make([]byte, 1)) },
		"it falls silent": func(c net.Conn) {
			c.Write([]byte{12, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0})
			c.Read(make([]byte, 20))
			c.Read(make([]byte, 1))
		},
		"it babbles": func(c net.Conn) {
			c.Write([]byte{12, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0})
			c.Write(make([]byte, 1<<12))
			c.Read(make([]byte, 99))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", path)
			testkit.Must(t, err)
			defer l.Close()
			served := make(chan struct{})
			go func() {
				defer close(served)
				c, err := l.Accept()
				if err == nil {
					serve(c)
					c.Close()
				}
			}()
			conn, err := net.Dial("unix", path)
			testkit.Must(t, err)
			began := time.Now()
			d, err := openDevice(conn)
			if err == nil {
				err = d.sync()
			}
			if err == nil || time.Since(began) > 3*deviceTimeout {
				t.Errorf("error %v after %v", err, time.Since(began))
			}
			if d != nil {
				if !d.lost || d.move(valuator{axisScrollY, 1}) == nil {
					t.Error("the device is still used")
				}
			}
			conn.Close()
			<-served
		})
	}
}
