package planet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/nearcast/nearcast/dev"
	"github.com/nearcast/nearcast/dev/planet/netns"
)

// Exec replaces this process by a command in a namespace of the planet in dir: a
// site's, or Person's. The command ends with the planet. Exec returns only an error.
func Exec(dir, name string, argv []string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	ns, err := netns.Open(dev.Namespace(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no planet with a namespace %q is running in %s", name, dir)
	}
	if err != nil {
		return err
	}
	defer ns.Close()
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	// Without the mark of a planet that this may run in.
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, dev.Mark("")) })
	env = append(env, dev.Mark(dir))
	// The command gets the namespace of this thread.
	runtime.LockOSThread()
	if err := ns.Enter(); err != nil {
		return err
	}
	return fmt.Errorf("run %s: %w", argv[0], syscall.Exec(path, argv, env))
}
