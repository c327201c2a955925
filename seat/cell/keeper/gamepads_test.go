package keeper

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/seat/cell"
)

// TestGamepads: where the library is beside the stream host, a cell has it, and a
// directory for gamepads. Else, and where the job wants none, it has neither.
func TestGamepads(t *testing.T) {
	needRoot(t)
	// The directory is closed to other users, as root's home is.
	dir := testkit.ShortDir(t)
	testkit.Must(t, os.Chmod(dir, 0o700))
	write(t, filepath.Join(dir, "nearcast-gamepad.so"), "the library\n")
	const look = `cat /run/nearcast-gamepad.so; : > /dev/input/event100 && echo made; (: >> /run/nearcast-gamepad.so) && echo changed; ls /dev/input`
	for name, c := range map[string]struct {
		host   string
		wanted bool
		mode   os.FileMode
		want   string
	}{
		"there":                  {filepath.Join(dir, "stream-host"), true, 0o644, "the library made event100"},
		"the job wants none":     {filepath.Join(dir, "stream-host"), false, 0o644, ""},
		"the library is missing": {program, true, 0o644, ""},
		"no user can read it":    {filepath.Join(dir, "stream-host"), true, 0o600, ""},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Must(t, os.Chmod(filepath.Join(dir, "nearcast-gamepad.so"), c.mode))
			s := newSpec(t, true)
			s.StreamHost, s.Display.Gamepads = c.host, c.wanted
			cl, err := makeCell(t, s)
			testkit.Must(t, err)
			out, _ := run(t, cl, cell.Program{Path: "/bin/sh", Args: []string{"sh", "-c", "exec 2>/dev/null; " + look}, Dir: "/"})
			if got := strings.Join(strings.Fields(out), " "); got != c.want {
				t.Errorf("the app finds %q, want %q", got, c.want)
			}
		})
	}
}
