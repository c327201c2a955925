package main

import (
	"fmt"
	"image"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/person"
	"github.com/nearcast/nearcast/internal/wire"
)

// realApp is a program that people use, and what it needs of a seat.
type realApp struct {
	command  string
	args     []string
	packages string            // Debian's, beyond those of every seat
	needs    []string          // files that say whether they are installed
	files    map[string]string // in the task's directory, from the node
	sound    bool
	cell     func(*wire.Cell) // changes what the operator allows
	// ready says that the picture is the app's; nil is any of several colours.
	ready func(*image.RGBA) bool
	// use does what a person does, and returns how the seat then ends.
	use func(*realSeat) wire.End
}

// realSeat is a seat whose real app a person sees.
type realSeat struct {
	*streamHost
	person *person.Person
	status wire.StreamHostStatus
	before *image.RGBA
	idle   time.Duration // from the start of the seat
}

const engine = "/usr/share/assimp/models/glTF2/2CylinderEngine-glTF-Binary/2CylinderEngine.glb"

const neverball = `mkdir -p "$HOME/.neverball" &&
	printf 'fullscreen 0\nwidth 640\nheight 480\n' > "$HOME/.neverball/neverballrc" &&
	exec /usr/games/neverball`

// page is red, and green after a key.
const page = `data:text/html,<title>Page</title><body style="background:rgb(255,0,0)">` +
	`<script>onkeydown=()=>{document.body.style.background="rgb(0,255,0)"}</script>`

func chromium(more ...string) realApp {
	return realApp{
		command: "chromium", packages: "chromium",
		args:  append(more, "--no-first-run", "--no-default-browser-check", "--disable-background-networking", "--app="+page),
		ready: mostly(0xff, 0, 0), use: key("KeyA", "a", mostly(0, 0xff, 0)),
	}
}

// realApps are of every kind: X alone, OpenGL, a game with sound, GTK, Qt, Vulkan,
// Windows and a browser.
func realApps() map[string]realApp {
	sandboxed := chromium()
	sandboxed.cell = func(c *wire.Cell) { c.UserNamespaces = true }
	use := sandboxed.use
	sandboxed.use = func(s *realSeat) wire.End {
		if s.spec.Isolate {
			s.wantOwnSandbox()
		}
		return use(s)
	}
	return map[string]realApp{
		"testapp": {command: appBinary, ready: mostly(0, 0, 0), use: key("KeyA", "a", mostly(0xff, 0xff, 0xff))},
		"f3d": {
			command: "f3d", packages: "f3d and assimp-testmodels", needs: []string{engine}, files: map[string]string{"local/engine.glb": engine},
			args: []string{"--resolution=640,480", "--bg-color=0.13,0.14,0.17", "local/engine.glb"},
			use:  key("KeyG", "g", nil), // the grid
		},
		"neverball": {
			command: "/bin/sh", packages: "neverball", needs: []string{"/usr/games/neverball"}, args: []string{"-c", neverball}, sound: true,
			use: func(s *realSeat) wire.End {
				if s.spec.Display.Audio {
					testkit.Until(s.t, "sound", func() bool { return s.person.Sounds() > 10 })
				}
				s.keep("after", s.picture(s.status))
				s.person.Press("Escape", "Escape")
				return wire.End{Reason: wire.ReasonAppExited}
			},
		},
		"zenity": {
			command: "zenity", packages: "zenity", args: []string{"--question", "--text=Is this a seat?"},
			use: func(s *realSeat) wire.End {
				s.person.Press("Enter", "Enter")
				return wire.End{Reason: wire.ReasonAppExited} // with 0, which is yes
			},
		},
		"speedcrunch": {command: "speedcrunch", packages: "speedcrunch", use: func(s *realSeat) wire.End {
			for _, k := range [][2]string{{"Digit6", "6"}, {"Digit7", "7"}, {"Enter", "Enter"}} {
				s.person.Press(k[0], k[1])
			}
			return s.leaveAfter(func(now *image.RGBA) bool { return different(s.before, now) > 500 })
		}},
		"vkcube": {
			command: "vkcube", packages: "vulkan-tools and mesa-vulkan-drivers", needs: []string{"/usr/share/vulkan/icd.d/lvp_icd.x86_64.json"},
			use: func(s *realSeat) wire.End {
				testkit.Until(s.t, "the cube turns", func() bool { return different(s.before, s.picture(s.status)) > 1000 })
				s.person.Press("Escape", "Escape")
				return wire.End{Reason: wire.ReasonAppExited}
			},
		},
		"chromium": chromium("--no-sandbox"), "chromium with its sandbox": sandboxed,
		"wine": {
			command: "wine", packages: "wine and wine64", args: []string{"winemine"},
			// At its first start, Wine makes a directory of some 700 MB.
			cell: func(c *wire.Cell) { c.WritableBytes = 1 << 30 },
			// Its field, not Wine's own window before.
			ready: func(p *image.RGBA) bool { return colours(p)[rgb(0, 0x80, 0)] > 10000 },
			use: func(s *realSeat) wire.End {
				s.person.Click(0.5, 0.55)
				return s.leaveAfter(func(now *image.RGBA) bool { return different(s.before, now) > 50 })
			},
		},
	}
}

// Programs that people use run in the cell: they show a picture, follow a key or a
// click, and leave nothing behind.
func TestRealApps(t *testing.T) {
	for name, app := range realApps() {
		t.Run(name, func(t *testing.T) {
			s := startReal(t, app, true)
			want := app.use(s)
			if m := s.person.Expect(wire.MsgEnded); m.End.Reason != want.Reason || m.End.ExitCode != want.ExitCode {
				t.Errorf("ended by %v, want %v", m.End, want)
			}
			if end := s.wantExit(); end.Reason != want.Reason || end.ExitCode != want.ExitCode {
				t.Errorf("exit says %v, want %v", end, want)
			}
			s.wantNothingLeft(true)
			t.Logf("idle after %v", s.idle.Round(time.Millisecond))
		})
	}
}

// Chromium does not run unprotected because an operator forgot an option.
func TestChromiumNeedsAnOption(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: without a cell, Chromium's sandbox works")
	}
	s := newReal(t, chromium(), true)
	s.start()
	if end := s.wantExit(); end.Reason != wire.ReasonAppExited || end.ExitCode == 0 && end.Signal == 0 {
		t.Errorf("exit says %v", end)
	}
	s.wantNothingLeft(true)
}

// newReal is a seat that does not run yet.
func newReal(t *testing.T, app realApp, isolate bool) *streamHost {
	t.Helper()
	for _, file := range append(app.needs, app.command) {
		if _, err := exec.LookPath(file); err != nil {
			if _, err := os.Stat(file); err != nil {
				t.Skipf("%s is not installed (Debian's packages: %s)", file, app.packages)
			}
		}
	}
	s := newStreamHost(t, app.args...)
	s.spec.Command, s.spec.StartTimeoutS = app.command, 50
	s.spec.Display.Width, s.spec.Display.Height = 640, 480
	s.spec.Cell.WritableBytes, s.spec.Cell.MaxProcesses = 512<<20, 512 // the driver's defaults
	if app.cell != nil {
		app.cell(&s.spec.Cell)
	}
	s.spec.Isolate = s.spec.Isolate && isolate
	if app.sound {
		_, err := exec.LookPath("pulseaudio")
		s.spec.Display.Audio = err == nil
	}
	for to, from := range app.files {
		to = s.sub("task/" + to)
		raw, err := os.ReadFile(from)
		testkit.Must(t, err)
		testkit.Must(t, os.MkdirAll(filepath.Dir(to), 0o755))
		testkit.Must(t, os.WriteFile(to, raw, 0o644))
	}
	return s
}

// startReal starts the app and connects a person, who sees its picture.
func startReal(t *testing.T, app realApp, isolate bool) *realSeat {
	t.Helper()
	s := &realSeat{streamHost: newReal(t, app, isolate)}
	begin := time.Now()
	s.start()
	s.status = s.waitState(wire.SeatIdle)
	s.idle = time.Since(begin)
	s.person = s.claim(s.status.Seat).Connect()
	ready := app.ready
	if ready == nil {
		ready = func(p *image.RGBA) bool { return len(colours(p)) > 1 }
	}
	testkit.Until(t, "the app's picture", func() bool {
		s.before = s.picture(s.status)
		s.keep("before", s.before)
		return ready(s.before)
	})
	return s
}

// leaveAfter waits for a picture, and leaves.
func (s *realSeat) leaveAfter(ok func(*image.RGBA) bool) wire.End {
	s.t.Helper()
	testkit.Until(s.t, "the picture that follows", func() bool {
		now := s.picture(s.status)
		if ok(now) {
			s.keep("after", now)
			return true
		}
		return false
	})
	s.person.Send(wire.Message{Type: wire.MsgLeave})
	return wire.End{Reason: wire.ReasonLeft}
}

// key presses a key until the picture follows: the window may not have the focus yet.
// Without ok, it must differ.
func key(code, key string, ok func(*image.RGBA) bool) func(*realSeat) wire.End {
	return func(s *realSeat) wire.End {
		s.t.Helper()
		return s.leaveAfter(func(now *image.RGBA) bool {
			if ok != nil && ok(now) || ok == nil && different(s.before, now) > 1000 {
				return true
			}
			s.person.Press(code, key)
			return false
		})
	}
}

// wantOwnSandbox fails if no process of the app has made namespaces of its own.
func (s *realSeat) wantOwnSandbox() {
	s.t.Helper()
	ours, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", s.status.InitPID))
	testkit.Must(s.t, err)
	testkit.Until(s.t, "a user namespace of the app", func() bool {
		all, _ := filepath.Glob(fmt.Sprintf("/proc/%d/root/proc/[0-9]*/ns/user", s.status.InitPID))
		for _, file := range all {
			if theirs, err := os.Readlink(file); err == nil && theirs != ours {
				return true
			}
		}
		return false
	})
}
