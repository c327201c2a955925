package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// appNice gives display and sound ten times the app's weight in the cgroup that they
// share. Both work for the stream as much as for the app.
const appNice = 10

// place moves a process that the app can keep busy into the cell's cgroup: what it
// takes of a processor, it then takes from the cell and not from the stream host. Its
// children follow it.
func (k *keeper) place(pid int) error {
	if k.spec.CellCgroup == "" {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(k.spec.CellCgroup, "cgroup.procs"), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(strconv.Itoa(pid))
		f.Close()
	}
	if err != nil {
		return fmt.Errorf("move process %d into the cell's cgroup: %w", pid, err)
	}
	return nil
}
