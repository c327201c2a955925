package driver

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
)

// hold has a seat-keeper wait, once it has started, until begin: cgroups of version 1 take a process only
// then, and what it starts before stays outside of them. at is the place of the argument for it. begin has
// to be called in any case, and may be called again.
func (c cgroup) hold(cmd *exec.Cmd, at int) (begin func(), err error) {
	if c.v2 != "" { // it starts there
		return func() {}, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("hold %s: %w", cmd.Path, err)
	}
	cmd.ExtraFiles = []*os.File{r} // descriptor 3
	cmd.Args = slices.Insert(cmd.Args, at, "--held")
	return func() { r.Close(); w.Close() }, nil
}
