package dev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/nearcast/nearcast/dev/netns"
)

// Exec replaces this process by a command inside a namespace of the planet in
// dir: a site's, or Person's. The command ends with the planet. It returns only
// where it fails.
func Exec(dir, name string, argv []string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	ns, err := netns.Open(Namespace(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no planet with %q is running in %s", name, dir)
	}
	if err != nil {
		return err
	}
	defer ns.Close()
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	env := append(os.Environ(), markEnv+"="+dir)
	for i, kv := range env[:len(env)-1] {
		if strings.HasPrefix(kv, markEnv+"=") {
			env = append(env[:i], env[i+1:]...) // of the planet around this one
			break
		}
	}
	// What is executed gets the namespace of the thread that does it.
	runtime.LockOSThread()
	if err := ns.Enter(); err != nil {
		return err
	}
	return fmt.Errorf("run %s: %w", argv[0], syscall.Exec(path, argv, env))
}
