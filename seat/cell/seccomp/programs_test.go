package seccomp

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/testkit"
)

// appUser runs the programs: a uid without an account, as in a cell.
const appUser = 2000009901

// TestPrograms runs real programs under the filter, and waits for their window.
func TestPrograms(t *testing.T) {
	needRoot(t)
	xgb.Logger.SetOutput(io.Discard) // it says that there is no .Xauthority
	const page = "data:text/html,<title>page</title>"
	chromium := []string{"chromium", "--no-first-run", "--disable-gpu", page}
	for _, c := range []struct {
		name, pkg string
		options   Options
		argv      []string
		class     string // of the window, where it shows others first
		refused   string // it ends with this in its output
	}{
		{"OpenGL", "mesa-utils", Options{}, []string{"glxgears"}, "", ""},
		{"Vulkan", "vulkan-tools and mesa-vulkan-drivers", Options{}, []string{"vkcube"}, "", ""},
		{"GTK", "zenity", Options{}, []string{"zenity", "--info", "--text", "page"}, "", ""},
		{"Qt", "speedcrunch", Options{}, []string{"speedcrunch"}, "", ""},
		{"SDL", "neverball", Options{}, []string{"/usr/games/neverball"}, "", ""},
		{"Chromium", "chromium", Options{}, append(chromium, "--no-sandbox"), "", ""},
		{"Chromium's sandbox", "chromium", Options{UserNamespaces: true}, chromium, "", ""},
		{"Chromium's sandbox, not asked for", "chromium", Options{}, chromium, "", "No usable sandbox"},
		{"Wine", "wine64", Options{}, []string{"/usr/lib/wine/wine64", "notepad"}, "notepad.exe", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := exec.LookPath(c.argv[0]); err != nil {
				t.Skipf("%s is not installed (Debian's package is %s)", c.argv[0], c.pkg)
			}
			home := home(t)
			display, _ := testkit.Xvfb(t, nil, "-ac")
			cmd := under{UID: appUser, Options: c.options}.inNamespace(t, c.argv...)
			cmd.Dir = home
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "DISPLAY=" + display, "HOME=" + home, "XDG_RUNTIME_DIR=" + home,
				"LC_ALL=C.UTF-8", "WINEDEBUG=-all", "WINEPREFIX=" + filepath.Join(home, "wine")}
			var output bytes.Buffer
			cmd.Stderr, cmd.Stdout = &output, &output
			testkit.Must(t, cmd.Start())
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			stopped := false
			stop := func() {
				if !stopped {
					stopped = true
					cmd.Process.Kill() // the first process of the namespace
					<-ended
				}
			}
			t.Cleanup(stop)
			if c.refused != "" {
				select {
				case <-ended:
					stopped = true
				case <-time.After(time.Minute):
					t.Fatal("it still runs after a minute")
				}
				if !strings.Contains(output.String(), c.refused) {
					t.Errorf("it ended without %q:\n%s", c.refused, &output)
				}
				return
			}
			conn, err := xgb.NewConnDisplay(display)
			testkit.Must(t, err)
			defer conn.Close()
			testkit.Within(t, 3*time.Minute, "its window is on the screen", func() bool {
				select {
				case err := <-ended:
					stopped = true
					t.Fatalf("it ended: %v\n%s", err, &output)
				default:
				}
				return window(t, conn, c.class)
			})
			stop()
		})
	}
}

// window reports whether something of some size, and of a class if one is given, is
// on the screen.
func window(t *testing.T, conn *xgb.Conn, class string) bool {
	t.Helper()
	root := xproto.Setup(conn).DefaultScreen(conn).Root
	tree, err := xproto.QueryTree(conn, root).Reply()
	testkit.Must(t, err)
	for _, w := range tree.Children {
		attributes, err := xproto.GetWindowAttributes(conn, w).Reply()
		if err != nil || attributes.MapState != xproto.MapStateViewable {
			continue // it may be gone again
		}
		if class != "" {
			p, err := xproto.GetProperty(conn, false, w, xproto.AtomWmClass, xproto.AtomString, 0, 64).Reply()
			if err != nil || !strings.Contains(string(p.Value), class) {
				continue
			}
		}
		if g, err := xproto.GetGeometry(conn, xproto.Drawable(w)).Reply(); err == nil && g.Width > 50 && g.Height > 50 {
			return true
		}
	}
	return false
}

// home is a directory of the user that runs the programs.
func home(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "home-")
	testkit.Must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	testkit.Must(t, os.Chown(dir, appUser, appUser))
	return dir
}

// TestSandboxTool runs a program that makes a sandbox of namespaces.
func TestSandboxTool(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("bwrap"); err != nil {
		t.Skip("bwrap is not installed (Debian's package is bubblewrap)")
	}
	argv := []string{"bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--unshare-all", "true"}
	run := func(o Options) (string, error) {
		cmd := under{UID: appUser, Options: o}.inNamespace(t, argv...)
		cmd.Stderr = nil
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run(Options{UserNamespaces: true}); err != nil {
		t.Errorf("with the option: %v\n%s", err, out)
	}
	if out, err := run(Options{}); err == nil || !strings.Contains(out, "namespace") {
		t.Errorf("without the option: %v\n%s", err, out)
	}
}
