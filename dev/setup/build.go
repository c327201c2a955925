package setup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// build makes a tool from source, in the pinned version.
func (f finder) build(ctx context.Context, t tool, pinned string) (string, error) {
	if _, err := exec.LookPath("go"); err != nil {
		return "", fmt.Errorf("it is neither on PATH nor in %s, and there is no go to build it: %w", f.dir, err)
	}
	scratch, err := f.scratch(t)
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(scratch)
	// A copy: the build may complete go.sum, and the source tree must not change.
	if err := os.CopyFS(scratch, os.DirFS(filepath.Join(f.root, "dev", "tools", t.name))); err != nil {
		return "", err
	}
	defer f.out.end()
	began := time.Now()
	file := filepath.Join(scratch, t.binary(pinned))
	built, err := t.packages(ctx, scratch, func(modules int) {
		f.out.progress("%s %s: %d modules downloaded", t.name, pinned, modules)
	})
	if err != nil {
		return "", err
	}
	done := built.done()
	show := func() { f.out.progress("%s %s: %d of %d packages", t.name, pinned, done, len(built)) }
	show()
	err = t.goCommand(ctx, scratch, func(line string) bool {
		if cached, known := built[line]; !known || cached {
			return false
		}
		built[line] = true
		done++
		show()
		return true
	}, "build", "-v", "-buildvcs=false", "-ldflags=-s -w", "-o", file, t.main)
	if err != nil {
		return "", err
	}
	path, err := f.keep(t, pinned, file)
	if err == nil {
		f.out.line("%s %s: built from source in %s; kept in %s", t.name, pinned, time.Since(began).Round(time.Second), f.dir)
	}
	return path, err
}

// packages are those that a tool is made of, and which of them are built.
type packages map[string]bool

func (p packages) done() (n int) {
	for _, built := range p {
		if built {
			n++
		}
	}
	return n
}

// inCache is how "go list" says that a package need not be built. Those of the standard
// library are not stale at all.
const inCache = "not installed but available in build cache"

// packages lists what a tool is made of. It downloads the modules.
func (t tool) packages(ctx context.Context, dir string, downloaded func(modules int)) (packages, error) {
	all, modules := make(packages), 0
	err := t.goCommand(ctx, dir, func(line string) bool {
		if strings.HasPrefix(line, "go: downloading ") {
			modules++
			downloaded(modules)
			return true
		}
		name, state, ok := strings.Cut(line, "\t")
		if ok {
			all[name] = state == "false " || state == "true "+inCache
		}
		return ok
	}, "list", "-deps", "-f", "{{.ImportPath}}\t{{.Stale}} {{.StaleReason}}", t.main)
	return all, err
}

// goCommand runs the go command in a copy of the tool's pin. use gets each line of its
// output, and reports whether the line is no message of an error.
func (t tool) goCommand(ctx context.Context, dir string, use func(line string) bool, args ...string) error {
	args = append([]string{args[0], "-mod=mod", "-trimpath"}, args[1:]...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+t.cgo, "GOWORK=off", "GOFLAGS=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// The compilers that go started end with it.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		writer.Close()
		ended <- err
	}()
	var problems tail
	for lines := bufio.NewReader(reader); ; {
		line, err := lines.ReadString('\n')
		if line != "" && !use(strings.TrimSuffix(line, "\n")) {
			problems.add(line)
		}
		if err != nil {
			break
		}
	}
	if err := <-ended; err != nil {
		return errors.Join(ctx.Err(), fmt.Errorf("go %s %s: %w\n%s", args[0], t.main, err, problems))
	}
	return nil
}
