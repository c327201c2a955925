package testkit

import (
	"os"
	"testing"
)

// ShortDir is a folder that goes with the test, short enough for Unix sockets below
// it, whose paths have at most 107 bytes, whatever the test's name. All users may
// look into it.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
