package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Tool finds a server's program where FindTool does, and skips the test where it
// is missing.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := FindTool(name)
	if err != nil {
		t.Skip(err)
	}
	return path
}

// FindTool finds a server's program where the dev cluster keeps it, which is
// $NEARCAST_TOOLS_DIR or a folder of the user's cache, or on PATH.
func FindTool(name string) (string, error) {
	dir := toolsDir()
	if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
		return path, nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is neither in %s nor on PATH: bin/nearcast dev tools gets it", name, dir)
	}
	return path, nil
}

func toolsDir() string {
	if dir := os.Getenv("NEARCAST_TOOLS_DIR"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/"
	}
	return filepath.Join(home, ".cache", "nearcast", "tools", "bin")
}

// Environ is this process's environment without what would lead a server or a
// command to another cluster or to AWS. Its PATH finds what FindTool finds.
func Environ() []string {
	var env []string
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		foreign := strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "NOMAD_") || strings.HasPrefix(name, "CONSUL_")
		if !foreign && name != "PATH" {
			env = append(env, variable)
		}
	}
	return append(env, "PATH="+toolsDir()+string(os.PathListSeparator)+os.Getenv("PATH"))
}
