package driver

import (
	"bytes"
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
)

// execEnv is the app's environment in the spec, and what the stream host added to
// it for the app: where display, sound and home are.
func (t *task) execEnv(appPID int) []string {
	env := map[string]string{}
	for k, v := range t.spec.Env {
		env[k] = v
	}
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(appPID), "environ"))
	if err == nil {
		for kv := range bytes.SplitSeq(b, []byte{0}) {
			k, v, _ := strings.Cut(string(kv), "=")
			switch k {
			case "DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "PULSE_SERVER", "PULSE_COOKIE", "HOME", "USER", "LOGNAME":
				env[k] = v
			}
		}
	}
	env["TERM"] = cmp.Or(env["TERM"], "xterm-256color")
	out := make([]string, 0, len(env))
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}

// holds checks that a process is the first of the seat's cell. The stream host names it,
// which may be wrong: the process may have ended and its pid be another's, and a stream
// host that was taken over may name any.
func (t *task) holds(pid int) error {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return errSeatEnded
	}
	stat, err := p.Stat()
	if err != nil || stat.PPID != t.state.PID {
		return errSeatEnded
	}
	status, err := p.NewStatus()
	if err != nil {
		return errSeatEnded
	}
	if ids := status.NSpids; t.spec.Isolate && (len(ids) < 2 || ids[len(ids)-1] != 1) {
		return errSeatEnded
	}
	return nil
}

var errSeatEnded = errors.New("the seat has ended")
