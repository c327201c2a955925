package driver

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
)

// enterNamespaces is the command line that runs the command through nsenter(1): a
// Go process has many threads and cannot enter a mount namespace. nsenter runs as
// root until it is inside, so it gets no variable that could make it load code of
// the job. The command gets those through env(1).
func enterNamespaces(pid, uid, gid int, command, env []string) (argv, safe []string, err error) {
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return nil, nil, fmt.Errorf("nsenter is not installed: install the package util-linux: %w", err)
	}
	argv = []string{nsenter, "--target", strconv.Itoa(pid)}
	for _, ns := range []struct{ file, flag string }{
		{"mnt", "--mount"}, {"pid", "--pid"}, {"net", "--net"}, {"ipc", "--ipc"}, {"uts", "--uts"},
	} {
		theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns.file))
		if err != nil {
			return nil, nil, fmt.Errorf("the app has ended: %w", err)
		}
		if ours, err := os.Readlink("/proc/self/ns/" + ns.file); err == nil && ours != theirs {
			argv = append(argv, ns.flag)
		}
	}
	argv = append(argv, "--root", "--wd",
		"--setgid", strconv.Itoa(gid), "--setuid", strconv.Itoa(uid), "--")
	var late []string
	for _, kv := range env {
		if loads(kv) {
			late = append(late, kv)
		} else {
			safe = append(safe, kv)
		}
	}
	if len(late) > 0 {
		argv = append(append(argv, "/usr/bin/env"), late...)
	}
	return append(argv, command...), safe, nil
}

// loads reports whether a variable makes the C library load or write files. The C
// library itself ignores these in set-user-id programs.
func loads(kv string) bool {
	key, _, _ := strings.Cut(kv, "=")
	switch key {
	case "GCONV_PATH", "GETCONF_DIR", "GLIBC_TUNABLES", "HOSTALIASES", "LOCALDOMAIN", "LOCPATH",
		"MALLOC_TRACE", "NIS_PATH", "NLSPATH", "RESOLV_HOST_CONF", "RES_OPTIONS", "TZDIR":
		return true
	}
	return strings.HasPrefix(key, "LD_")
}

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

// appUser is the effective user and group of the app's process. They are safer than
// a look-up of the job's user: the account may have changed since the start, and the
// stream host may know accounts that this static binary does not.
func (t *task) appUser(pid int) (uid, gid int, err error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, 0, err
	}
	s, err := p.NewStatus()
	if err != nil {
		return 0, 0, err
	}
	// The app may have ended, and its pid be another process's, even root's.
	all, err := processes()
	if err != nil {
		return 0, 0, err
	}
	if !slices.ContainsFunc(family(all, t.state.Nonce, nil), func(p process) bool { return p.pid == pid }) {
		return 0, 0, os.ErrProcessDone
	}
	return int(s.UIDs[1]), int(s.GIDs[1]), nil
}

// lookPath finds a program in the PATH of env, not of this process.
func lookPath(name string, env []string) (string, error) {
	for _, kv := range env {
		if list, ok := strings.CutPrefix(kv, "PATH="); ok {
			for _, dir := range filepath.SplitList(list) {
				if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil && filepath.IsAbs(p) {
					return p, nil
				}
			}
		}
	}
	return "", fmt.Errorf("command %q is not in the app's PATH", name)
}
