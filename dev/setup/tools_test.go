package setup

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// pinned lays out a source tree whose one tool builds in a second.
func pinned(t *testing.T, source string) (root string, it tool) {
	t.Helper()
	root = t.TempDir()
	pin := filepath.Join(root, "dev", "tools", "hello")
	if err := os.MkdirAll(pin, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"go.mod":  "module tools/hello\n\ngo 1.26\n\nrequire example.com/hello v1.2.3\n\nreplace example.com/hello => ./hello\n",
		"main.go": source,
		// The version is read from the requirement; nothing is fetched for it.
		"hello/go.mod":   "module example.com/hello\n\ngo 1.26\n",
		"hello/hello.go": "package hello\n",
	} {
		path := filepath.Join(pin, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The main package is the pin's own, so that the test needs no registry.
	return root, tool{name: "hello", module: "example.com/hello", main: ".", version: "version"}
}

// without is a finder that has no releases.
func without(root, dir string, log io.Writer) finder {
	return finder{root: root, dir: dir, releases: &releases{}, out: newOutput(log)}
}

const hello = "package main\n\nfunc main() {}\n"

func TestToolIsBuiltOnce(t *testing.T) {
	root, it := pinned(t, hello)
	dir := filepath.Join(t.TempDir(), "tools")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var log strings.Builder
	path, err := without(root, dir, &log).find(ctx, it)
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(path) != "hello-v1.2.3" || !strings.HasPrefix(log.String(), "hello v1.2.3: building from source") {
		t.Errorf("path %s, log:\n%s", path, &log)
	}
	if target, err := os.Readlink(filepath.Join(dir, "hello")); err != nil || target != "hello-v1.2.3" {
		t.Errorf("hello links to %q, %v", target, err)
	}
	log.Reset()
	if again, err := without(root, dir, &log).find(ctx, it); err != nil || again != path || log.String() != "hello v1.2.3: from "+path+"\n" {
		t.Errorf("the second time: %s, %v, log %q", again, err, &log)
	}
	if entries, err := filepath.Glob(filepath.Join(dir, ".*.new")); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if _, err := os.Stat(filepath.Join(root, "dev", "tools", "hello", "go.sum")); !errors.Is(err, os.ErrNotExist) {
		t.Error("the build wrote into the source tree")
	}

	// A new pin makes the link, which is to the old version, out of date.
	mod := filepath.Join(root, "dev", "tools", "hello", "go.mod")
	text, err := os.ReadFile(mod)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(mod, []byte(strings.ReplaceAll(string(text), "v1.2.3", "v1.2.4")), 0o644); err != nil {
		t.Fatal(err)
	}
	if newer, err := without(root, dir, io.Discard).find(ctx, it); err != nil || filepath.Base(newer) != "hello-v1.2.4" {
		t.Errorf("after a new pin: %s, %v", newer, err)
	}
}

// A killed build leaves a scratch folder and no tool; the next build goes on.
func TestToolAfterKilledBuild(t *testing.T) {
	root, it := pinned(t, hello)
	dir := t.TempDir()
	scratch := filepath.Join(dir, ".hello.new")
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(scratch, "main.go"), []byte("half a fi"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := without(root, dir, io.Discard).find(t.Context(), it); err != nil {
		t.Fatal(err)
	}
}

func TestToolThatDoesNotBuild(t *testing.T) {
	root, it := pinned(t, "package main\n\nfunc main() { nowhere() }\n")
	dir := t.TempDir()
	_, err := without(root, dir, io.Discard).find(t.Context(), it)
	if err == nil || !strings.Contains(err.Error(), "undefined: nowhere") {
		t.Errorf("find: %v", err)
	}
	if found := without(root, dir, nil).kept(it, "v1.2.3"); found != "" {
		t.Errorf("%s is there", found)
	}
}

// While one builds, another waits, says so, and gives up with its context.
func TestToolLock(t *testing.T) {
	root, it := pinned(t, hello)
	dir := t.TempDir()
	unlock, err := lockFile(t.Context(), filepath.Join(dir, ".hello.lock"), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var log strings.Builder
	if _, err := without(root, dir, &log).find(ctx, it); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("find: %v", err)
	}
	if !strings.Contains(log.String(), "hello v1.2.3: waiting for another process") {
		t.Errorf("log: %q", &log)
	}
	unlock()
	if _, err := without(root, dir, io.Discard).find(t.Context(), it); err != nil {
		t.Error(err)
	}
}

// A program that somebody put into the folder is used as it is.
func TestToolPutThere(t *testing.T) {
	root, it := pinned(t, hello)
	dir := t.TempDir()
	if err := os.Symlink("/bin/true", filepath.Join(dir, "hello")); err != nil {
		t.Fatal(err)
	}
	path, err := without(root, dir, io.Discard).find(t.Context(), it)
	if err != nil || path != filepath.Join(dir, "hello") {
		t.Errorf("find: %s, %v", path, err)
	}
}

// The pins in the source tree name a version for each tool.
func TestPins(t *testing.T) {
	root, err := Root("", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range tools {
		if version, err := it.pin(root); err != nil || !strings.HasPrefix(version, "v") {
			t.Errorf("%s: %q, %v", it.name, version, err)
		}
	}
}

func TestToolsByName(t *testing.T) {
	if all, err := named(nil); err != nil || len(all) != len(tools) {
		t.Errorf("without a name: %v, %v", all, err)
	}
	if one, err := named([]string{"nomad-autoscaler"}); err != nil || len(one) != 1 || one[0].name != "nomad-autoscaler" {
		t.Errorf("nomad-autoscaler: %v, %v", one, err)
	}
	if _, err := named([]string{"vault"}); err == nil || !strings.Contains(err.Error(), "consul, nomad") {
		t.Errorf("vault: %v, want an error that lists the tools", err)
	}
	for _, it := range slices.Concat(tools, furtherTools) {
		if _, err := it.pin("../.."); err != nil {
			t.Errorf("%s: %v", it.name, err)
		}
	}
}

// A build shows how many of all packages are done; those in the cache count as done.
func TestBuildProgress(t *testing.T) {
	root, it := pinned(t, "package main\n\nimport _ \"tools/hello/one\"\n\nfunc main() {}\n")
	pin := filepath.Join(root, "dev", "tools", "hello")
	for name, text := range map[string]string{
		"one": "import _ \"tools/hello/two\"\n",
		"two": "const None = \"" + rand.Text() + "\"\n", // of no cache
	} {
		if err := os.Mkdir(filepath.Join(pin, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(pin, name, name+".go"), []byte("package "+name+"\n\n"+text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var log strings.Builder
	f := without(root, t.TempDir(), &log)
	f.out.terminal, f.out.every = true, 0
	if _, err := f.find(t.Context(), it); err != nil {
		t.Fatal(err)
	}
	// Before the build the runtime and what it is made of may be missing too.
	all, err := it.packages(t.Context(), pin, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	total := len(all)
	for _, done := range []int{total - 2, total - 1, total} {
		if want := fmt.Sprintf("\rhello v1.2.3: %d of %d packages\x1b[K", done, total); !strings.Contains(log.String(), want) {
			t.Errorf("the build does not show %q:\n%q", want, &log)
		}
	}
	if want := "\r\x1b[Khello v1.2.3: built from source in"; !strings.Contains(log.String(), want) {
		t.Errorf("the build does not show %q:\n%q", want, &log)
	}
	// Linked programs are not in the cache, and unsafe has no code.
	if done := all.done(); total < 20 || done < total-1 {
		t.Errorf("after the build %d of %d packages are done", done, total)
	}
}

// What is on PATH is used, and its version is said.
func TestToolOnPath(t *testing.T) {
	root, it := pinned(t, hello)
	for printed, want := range map[string]string{
		"Hello v1.2.3": "hello v1.2.3: from PATH, ", "hello version 1.3.0-dev (abc)": "hello v1.3.0-dev (pinned is v1.2.3): from PATH, ",
		"hi": "hello of unknown version (pinned is v1.2.3): from PATH, ",
	} {
		dir := t.TempDir()
		script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = version ] && echo '%s'\n", printed)
		if err := os.WriteFile(filepath.Join(dir, "hello"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
		var log strings.Builder
		path, err := without(root, t.TempDir(), &log).find(t.Context(), it)
		if err != nil || path != filepath.Join(dir, "hello") || log.String() != want+path+"\n" {
			t.Errorf("%s, %v, log %q, want %q", path, err, &log, want)
		}
	}
}
