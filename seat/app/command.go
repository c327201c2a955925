package app

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
)

// find enters the working directory and resolves the command, as the app's user
// and in the app's mount namespace.
func (p *parent) find() (string, error) {
	if err := os.Chdir(p.Dir); err != nil {
		return "", problem(wire.CodeConfig, p.whyNotEnter(err))
	}
	if strings.Contains(p.Command, "/") {
		path := p.Command
		if !filepath.IsAbs(path) {
			path = filepath.Join(p.Dir, path)
		}
		return path, p.executable(path)
	}
	var denied error
	for _, dir := range append(filepath.SplitList(p.Path), p.Dir) {
		if !filepath.IsAbs(dir) {
			continue
		}
		path := filepath.Join(dir, p.Command)
		err := p.executable(path)
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
	return "", problem(wire.CodeAppNotFound, fmt.Sprintf("command %q is neither in PATH (%s) nor in the task directory", p.Command, p.Path))
}

// whyNotEnter names the directory that the user cannot enter, and what helps.
func (p *parent) whyNotEnter(err error) string {
	what := fmt.Sprintf("user %s cannot enter the working directory: %v", p.Identity.label(), err)
	closed, lookErr := outermostClosed(p.Dir + "/.")
	if lookErr != nil || closed == "" {
		return what
	}
	return what + fmt.Sprintf("; %s is closed to that user: let all users enter it (chmod o+x), move the agent's data_dir, or set isolate = true, which works with closed directories", closed)
}

func (p *parent) executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return problem(wire.CodeAppNotFound, fmt.Sprintf("command %s does not exist", path))
	case err != nil:
		return problem(wire.CodeAppNotFound, fmt.Sprintf("user %s cannot reach the command: %v", p.Identity.label(), err))
	case info.IsDir():
		return problem(wire.CodeAppNotFound, fmt.Sprintf("command %s is a directory", path))
	case unix.Access(path, unix.X_OK) != nil:
		return problem(wire.CodeAppNotFound, fmt.Sprintf("command %s (%v) is not executable by user %s", path, info.Mode().Perm(), p.Identity.label()))
	}
	return nil
}

func cannotExecute(path string, err error) error {
	// find does not notice an unknown executable format or a missing interpreter.
	if slices.Contains([]error{syscall.ENOENT, syscall.EACCES, syscall.ENOEXEC, syscall.ENOTDIR, syscall.ELIBBAD}, err) {
		return problem(wire.CodeAppNotFound, fmt.Sprintf("command %s cannot be executed (%v): check that it is built for this node and that its interpreter exists", path, err))
	}
	return problem(wire.CodeConfig, fmt.Sprintf("execute %s: %v", path, err))
}
