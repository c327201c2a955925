package testkit

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// Build makes a program of this module, named by its folder below the module's
// root, and puts it into a file.
func Build(ctx context.Context, pkg, file string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", file, "github.com/nearcast/nearcast/"+pkg)
	if pkg == "cmd/seat-keeper" { // static, as make builds it
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// Main runs a package's tests with the application that they look at, whose path is
// put into testapp, and fails them where a goroutine is left. A TestMain calls it.
func Main(m *testing.M, testapp *string) {
	dir, err := os.MkdirTemp("", "testapp-")
	if err != nil {
		panic(err)
	}
	*testapp = filepath.Join(dir, "testapp")
	if err := Build(context.Background(), "dev/testapp", *testapp); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}
