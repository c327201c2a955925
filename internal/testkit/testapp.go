package testkit

import (
	"fmt"
	"os"
	"os/exec"
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
	out, err := exec.Command("go", "build", "-o", *testapp, "github.com/nearcast/nearcast/dev/testapp").CombinedOutput()
	if err != nil {
		fmt.Printf("build testapp: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Println(err)
			code = 1
		}
	}
	os.Exit(code)
}
