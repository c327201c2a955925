package provision_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// hierarchy is one of the testing machine's cgroup hierarchies, and a group in it that is the
// root for a machine of a test.
type hierarchy struct {
	place   string // below /sys/fs/cgroup; "." is that itself
	kind    string // cgroup or cgroup2
	options string // that mount it
	group   string
}

const cgroupRoot = "/sys/fs/cgroup"

// makeGroups makes groups for a machine, in the layout of the testing machine: systemd needs
// one hierarchy that it may write, and Nomad those with controllers.
func makeGroups(name string) (all []hierarchy, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, removeGroups(all))
		}
	}()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		// 40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
		before, after, _ := strings.Cut(line, " - ")
		mount, what := strings.Fields(before), strings.Fields(after)
		if len(mount) < 5 || len(what) < 3 || mount[4] != cgroupRoot && filepath.Dir(mount[4]) != cgroupRoot {
			continue
		}
		h := hierarchy{place: ".", kind: what[0]}
		if mount[4] != cgroupRoot {
			h.place = filepath.Base(mount[4])
		}
		switch h.kind {
		case "cgroup2":
			// Below the root: only the root may have both processes and groups with controllers.
			h.options, h.group = "rw", filepath.Join(mount[4], name)
			for _, controller := range strings.Fields(contents(filepath.Join(mount[4], "cgroup.controllers"))) {
				os.WriteFile(filepath.Join(mount[4], "cgroup.subtree_control"), []byte("+"+controller), 0)
			}
		case "cgroup":
			// Below the group of this process, so that its limits still apply.
			for line := range strings.Lines(string(own)) {
				part := strings.SplitN(strings.TrimSpace(line), ":", 3)
				controllers := strings.Split(part[1], ",")
				if controllers[0] != "" && slices.Contains(strings.Split(what[2], ","), controllers[0]) {
					h.options, h.group = part[1], filepath.Join(mount[4], strings.TrimPrefix(part[2], mount[3]), name)
				}
			}
			if strings.HasPrefix(h.options, "name=") {
				h.options = "none," + h.options
			}
		}
		if h.group == "" {
			continue
		}
		if err := os.Mkdir(h.group, 0o755); err != nil {
			return all, fmt.Errorf("make cgroup: %w", err)
		}
		all = append(all, h)
		// Without them, a group of version 1 accepts no process.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if value := contents(filepath.Join(filepath.Dir(h.group), file)); h.kind == "cgroup" && value != "" {
				if err := os.WriteFile(filepath.Join(h.group, file), []byte(value), 0); err != nil {
					return all, fmt.Errorf("make cgroup: %w", err)
				}
			}
		}
	}
	if !slices.ContainsFunc(all, func(h hierarchy) bool { return h.kind == "cgroup2" || h.options == "none,name=systemd" }) {
		return all, errors.New("there is neither cgroup2 nor name=systemd below " + cgroupRoot)
	}
	var controllers []string
	for _, h := range all {
		controllers = append(controllers, strings.Split(h.options, ",")...)
		controllers = append(controllers, strings.Fields(contents(filepath.Join(h.group, "cgroup.controllers")))...)
	}
	for _, name := range []string{"cpu", "cpuset", "memory"} { // Nomad needs these
		if !slices.Contains(controllers, name) {
			return all, fmt.Errorf("no cgroup has the controller %s", name)
		}
	}
	return all, nil
}

// removeGroups removes groups without processes, with all groups below them.
func removeGroups(all []hierarchy) (err error) {
	for _, h := range all {
		var dirs []string
		filepath.WalkDir(h.group, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) {
			if err2 := os.Remove(dir); err2 != nil && !errors.Is(err2, fs.ErrNotExist) {
				err = errors.Join(err, fmt.Errorf("remove cgroup: %w", err2))
			}
		}
	}
	return err
}

func contents(path string) string {
	text, _ := os.ReadFile(path)
	return string(text)
}
