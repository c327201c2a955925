package attack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// procList sees processes that are not of this seat.
func procList(_ ctx, a *attacker) Result {
	for _, t := range a.Targets {
		a.try("sees "+t.Role, t.visible())
	}
	// What nobody told of, but for process 1 of an own namespace, which is the seat's.
	own, foreign := a.own(), 0
	for _, p := range processes() {
		if !own[p.pid] && p.pid != a.keeper() && p.pid != 1 {
			foreign++
		}
	}
	if foreign > 0 {
		a.succeed("%d processes of others are listed", foreign)
	}
	return a.result()
}

// each tries something on each target that is visible here.
func (a *attacker) each(try func(t Process) (got string, err error)) Result {
	for _, t := range a.Targets {
		got, err := "", t.visible()
		if err == nil {
			got, err = try(t)
		}
		if err != nil {
			a.refuse(t.Role, err)
		} else {
			a.succeed("%s: %s", t.Role, got)
		}
	}
	return a.result()
}

// procEnviron reads environments, which have secrets.
func procEnviron(_ ctx, a *attacker) Result {
	return a.each(func(t Process) (string, error) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", t.PID))
		if err == nil && len(text) == 0 {
			err = errors.New("empty")
		}
		return fmt.Sprintf("read %d bytes, %s", len(text), a.secret(string(text))), err
	})
}

// procMemory opens memory to read and write.
func procMemory(_ ctx, a *attacker) Result {
	return a.each(func(t Process) (string, error) { return readMemory(t.PID) })
}

func readMemory(pid int) (string, error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return "", err
	}
	var from, to int64
	if _, err := fmt.Sscanf(string(maps), "%x-%x", &from, &to); err != nil {
		return "", fmt.Errorf("maps: %w", err)
	}
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer memory.Close()
	head := make([]byte, 4)
	if _, err := memory.ReadAt(head, from); err != nil {
		return "", err
	}
	return fmt.Sprintf("read %q, may write", head), nil
}

// procRoot leaves through the root or working directory of a process that sees more.
func procRoot(_ ctx, a *attacker) Result {
	return a.each(func(t Process) (string, error) { return escape(t.PID) })
}

func escape(pid int) (string, error) {
	var last error
	for _, link := range []string{"root", "cwd", "exe"} {
		path := fmt.Sprintf("/proc/%d/%s", pid, link)
		if _, last = os.Stat(path); last == nil {
			to, _ := os.Readlink(path)
			names, _ := os.ReadDir(path + "/")
			return fmt.Sprintf("opened its %s (%s, %d names)", link, to, len(names)), nil
		}
	}
	return "", last
}

// procFiles opens the open files of others.
func procFiles(_ ctx, a *attacker) Result {
	return a.each(func(t Process) (string, error) { return openFiles(t.PID) })
}

func openFiles(pid int) (string, error) {
	links, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return "", err
	}
	var names []string
	for _, l := range links {
		if to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, l.Name())); err == nil {
			names = append(names, to)
		}
	}
	if len(names) == 0 {
		return "", errors.New("none can be opened")
	}
	return fmt.Sprintf("%d open files, such as %s", len(names), names[len(names)/2]), nil
}

// inherited looks for descriptors that the app was started with, and uses them.
func inherited(_ ctx, a *attacker) Result {
	links, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", a.app))
	if err != nil {
		a.refuse("list own descriptors", err)
		return a.result()
	}
	for _, l := range links {
		path := fmt.Sprintf("/proc/%d/fd/%s", a.app, l.Name())
		to, _ := os.Readlink(path)
		// What this program opened by itself is closed on exec, as Go does it.
		if l.Name() == "0" || l.Name() == "1" || l.Name() == "2" || closesOnExec(a.app, l.Name()) {
			continue
		}
		a.succeed("descriptor %s is %s", l.Name(), to)
	}
	if len(a.got) == 0 {
		a.refused = append(a.refused, "the app got descriptors 0, 1 and 2 alone")
	}
	return a.result()
}

// closesOnExec reports whether a descriptor of a process has this flag.
func closesOnExec(pid int, fd string) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, fd))
	if err != nil {
		return true // it is closed already
	}
	var pos, flags int64
	_, err = fmt.Sscanf(string(text), "pos:\t%d\nflags:\t%o", &pos, &flags)
	return err == nil && flags&unix.O_CLOEXEC != 0
}

// joinNamespaces enters the namespaces of others.
func joinNamespaces(_ ctx, a *attacker) Result {
	pids := map[string]int{}
	for _, t := range a.Targets {
		if t.visible() == nil {
			pids[t.Role] = t.PID
		} else {
			a.refuse(t.Role, errNotVisible)
		}
	}
	if keeper := a.keeper(); keeper > 0 {
		pids["what started the app"] = keeper
	}
	for role, pid := range pids {
		for _, kind := range []string{"mnt", "net", "ipc", "uts"} {
			path := fmt.Sprintf("/proc/%d/ns/%s", pid, kind)
			own, _ := os.Readlink("/proc/self/ns/" + kind)
			if theirs, err := os.Readlink(path); err == nil && theirs == own {
				continue
			}
			fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				a.refuse(role+": open "+kind, err)
				continue
			}
			if err := unix.Setns(fd, 0); err != nil {
				a.refuse(role+": enter "+kind, err)
			} else {
				a.succeed("%s: entered its %s namespace", role, filepath.Base(kind))
			}
			unix.Close(fd)
		}
	}
	return a.result()
}
