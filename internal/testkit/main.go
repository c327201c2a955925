package testkit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

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
