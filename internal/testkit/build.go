package testkit

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

// programs are what a site runs, by their places in a folder, as make and a release have
// them there: Nomad takes a folder of plugins, and the driver looks for seat-keeper beside
// stream-host.
var programs = map[string]string{
	"nearcast":                    "cmd/nearcast",
	"seat-keeper":                 "cmd/seat-keeper",
	"nearcast-app":                "cmd/nearcast-app",
	"stream-host":                 "cmd/stream-host",
	"testapp":                     "dev/testapp",
	"nearcast-gamepad.so":         gamepadLibrary,
	"nomad-autoscaler-seats":      "plugins/nomad-autoscaler-seats",
	"plugins/nomad-driver-stream": "plugins/nomad-driver-stream",
	"plugins/nomad-device-seats":  "plugins/nomad-device-seats",
}

// BuildAll makes the programs of these names in a folder; without names, all that a site
// runs. It leaves a program that is there.
//
//	testkit.BuildAll(t, bin) // bin/nearcast, bin/plugins/nomad-driver-stream, …
func BuildAll(t testing.TB, dir string, names ...string) {
	t.Helper()
	if len(names) == 0 {
		names = slices.Collect(maps.Keys(programs))
	}
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(runtime.NumCPU())
	for _, name := range names {
		file := filepath.Join(dir, name)
		if _, err := os.Stat(file); err == nil {
			continue
		}
		pkg, ok := programs[name]
		if !ok {
			t.Fatalf("there is no program %s", name)
		}
		group.Go(func() error { return Build(ctx, pkg, file) })
	}
	Must(t, group.Wait())
}

// Build makes a program of this module, named by its folder below the module's root, and
// puts it into a file. Its folder is made.
func Build(ctx context.Context, pkg, file string) error {
	if pkg == gamepadLibrary {
		return buildLibrary(ctx, file)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", file, "github.com/nearcast/nearcast/"+pkg)
	cmd.Env = os.Environ()
	if pkg != "cmd/stream-host" && pkg != "plugins/nomad-device-seats" { // the others are static, as make builds them
		cmd.Env = append(cmd.Env, "CGO_ENABLED=0")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// gamepadLibrary is the folder of the library in C by which apps see gamepads.
const gamepadLibrary = "seat/gamepad/preload"

// buildLibrary compiles it, as make does.
func buildLibrary(ctx context.Context, file string) error {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/nearcast/nearcast").Output()
	if err != nil {
		return fmt.Errorf("find the module: %w", err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), gamepadLibrary, "gamepad.c")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "cc", "-std=gnu11", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror",
		"-fvisibility=hidden", "-U_FORTIFY_SOURCE", "-o", file, source, "-ldl")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", gamepadLibrary, err, out)
	}
	return nil
}
