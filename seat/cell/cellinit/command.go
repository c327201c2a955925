package cellinit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
)

func problem(code, format string, args ...any) error {
	return wire.End{Reason: wire.ReasonError, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// find resolves the app's command as the app's user sees it: a path, absolute or below
// the working directory, or a name in the search path or the working directory.
func (r *runner) find(p *cell.Program) (string, error) {
	if err := os.Chdir(p.Dir); err != nil {
		return "", problem(wire.CodeConfig, "%s", r.whyNotEnter(p.Dir, err))
	}
	if strings.Contains(p.Path, "/") {
		path := p.Path
		if !filepath.IsAbs(path) {
			path = filepath.Join(p.Dir, path)
		}
		return path, r.executable(path)
	}
	var denied error
	for _, dir := range append(filepath.SplitList(p.SearchPath), p.Dir) {
		if !filepath.IsAbs(dir) {
			continue
		}
		path := filepath.Join(dir, p.Path)
		err := r.executable(path)
		if err == nil {
			return path, nil
		}
		if _, statErr := os.Stat(path); statErr == nil && denied == nil {
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", problem(wire.CodeAppNotFound, "command %q is neither in PATH (%s) nor in the task directory", p.Path, p.SearchPath)
}

// whyNotEnter names the directory that the user cannot enter, and what helps.
func (r *runner) whyNotEnter(dir string, err error) string {
	what := fmt.Sprintf("user %s cannot enter the working directory: %v", r.spec.Identity.Label(), err)
	closed := outermostClosed(dir + "/.")
	if closed == "" || r.spec.Root != nil {
		return what
	}
	return what + fmt.Sprintf("; %s is closed to that user: let all users enter it (chmod o+x), move the agent's data_dir, or set isolate = true, which works with closed directories", closed)
}

// outermostClosed returns the first directory on the way to path that this process
// cannot enter, or "".
func outermostClosed(path string) string {
	for i := 1; i < len(path); i++ {
		if path[i] != '/' {
			continue
		}
		// To open "." in a directory needs permission to enter it, by every rule: mode,
		// access control list, security module.
		fd, err := unix.Open(path[:i]+"/.", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.EACCES) {
			return path[:i]
		}
		if err != nil {
			return ""
		}
		unix.Close(fd)
	}
	return ""
}

func (r *runner) executable(path string) error {
	info, err := os.Stat(path)
	user := r.spec.Identity.Label()
	switch {
	case errors.Is(err, os.ErrNotExist):
		return problem(wire.CodeAppNotFound, "command %s does not exist%s", path, r.hint())
	case err != nil:
		return problem(wire.CodeAppNotFound, "user %s cannot reach the command: %v", user, err)
	case info.IsDir():
		return problem(wire.CodeAppNotFound, "command %s is a directory", path)
	case unix.Access(path, unix.X_OK) != nil:
		return problem(wire.CodeAppNotFound, "command %s (%v) is not executable by user %s", path, info.Mode().Perm(), user)
	}
	return nil
}

// hint says why a file that the operator sees may not be in the cell.
func (r *runner) hint() string {
	if r.spec.Root == nil {
		return ""
	}
	return " in the seat: of the node it has " + strings.Join(r.spec.Root.ReadOnly, ", ") + "; the operator can add paths with cell.paths in the plugin's config"
}

func cannotExecute(path string, err error) error {
	// find does not notice an unknown executable format or a missing interpreter.
	if slices.ContainsFunc([]error{syscall.ENOENT, syscall.EACCES, syscall.ENOEXEC, syscall.ENOTDIR, syscall.ELIBBAD}, func(e error) bool { return errors.Is(err, e) }) {
		return problem(wire.CodeAppNotFound, "command %s cannot be executed (%v): check that it is built for this node and that its interpreter exists", path, err)
	}
	return problem(wire.CodeConfig, "execute %s: %v", path, err)
}
