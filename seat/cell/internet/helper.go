package internet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// program is what the helper becomes.
const program = "slirp4netns"

// Descriptors of the helper.
const (
	readyFD = 3 // it writes there when it is ready
	aliveFD = 4 // it ends when this pipe ends
	netnsFD = 5 // the namespace where it makes its interface
)

// helper is the process of slirp4netns.
type helper struct {
	pid     int
	process *os.Process
	log     *slog.Logger
	alive   *os.File
	done    chan struct{} // closed when the process has been waited for

	mu       sync.Mutex
	stopping bool
	said     string // the last line that it printed
	cause    error
}

// startHelper starts the helper, and returns when its interface is there. names is the
// text of its resolv.conf.
func startHelper(ctx context.Context, cfg Config, names string) (*helper, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, ErrNotInstalled
	}
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	pipe := func() (r, w *os.File) {
		if err == nil {
			if r, w, err = os.Pipe(); err == nil {
				files = append(files, r, w)
			}
		}
		return r, w
	}
	ready, tell := pipe()
	watch, alive := pipe()
	output, print := pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipes: %w", err)
	}
	files = []*os.File{ready, tell, watch, print} // the others have a reader or an owner below

	cmd := exec.Command("/proc/self/exe", HelperArg, path, names)
	cmd.Args[0] = "nearcast-internet"
	cmd.Dir = "/"
	cmd.Env = []string{} // ours may have credentials
	cmd.Stdout, cmd.Stderr = print, print
	cmd.ExtraFiles = []*os.File{tell, watch}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Pdeathsig:  syscall.SIGKILL,
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		// Root of its user namespace alone, which is the seat's user for all others.
		UidMappings:                []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(cfg.UID), Size: 1}},
		GidMappings:                []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(cfg.GID), Size: 1}},
		GidMappingsEnableSetgroups: true, // to have no further groups
		Credential:                 &syscall.Credential{Uid: 0, Gid: 0},
	}

	h := &helper{log: cfg.Log, alive: alive, done: make(chan struct{})}
	started := make(chan error, 1)
	go h.run(cmd, output, started)
	if err := <-started; err != nil {
		return nil, err
	}
	for _, f := range files[1:] {
		f.Close() // the helper's; ours would hide its end
	}
	files = files[:1]

	wrote := make(chan bool, 1)
	go func() {
		n, _ := io.ReadFull(ready, make([]byte, 1))
		wrote <- n == 1
	}()
	select {
	case ok := <-wrote:
		if ok {
			return h, nil
		}
		h.kill()
		<-h.done
		return nil, errors.Join(errors.New("it did not become ready"), h.err())
	case <-ctx.Done():
		h.stop() // this ends the reader too
		<-wrote
		return nil, ctx.Err()
	}
}

// run starts the helper and waits for its end. The parent death signal is sent when the
// *thread* that started the process ends, so this thread does nothing else.
func (h *helper) run(cmd *exec.Cmd, output *os.File, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(h.done)
	defer h.alive.Close()
	defer output.Close()
	if err := cmd.Start(); err != nil {
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EPERM) {
			err = fmt.Errorf("%w (are user namespaces allowed? see sysctl user.max_user_namespaces)", err)
		}
		started <- err
		return
	}
	h.pid, h.process = cmd.Process.Pid, cmd.Process
	started <- nil
	read := make(chan struct{})
	go func() {
		defer close(read)
		h.listen(output)
	}()
	err := cmd.Wait()
	<-read // it ends with the process: the process has no child that lives
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.stopping {
		h.cause = fmt.Errorf("slirp4netns ended (%v): %s", err, h.said)
	}
}

// gone is what slirp4netns prints, again and again, when its interface is gone because the
// cell's namespace ended. It does not end by itself then.
const gone = "do_slirp: read:"

// listen reads what the helper prints.
func (h *helper) listen(output io.Reader) {
	lines := bufio.NewReaderSize(output, 4096)
	for {
		line, err := lines.ReadSlice('\n')
		text := strings.TrimSpace(string(line))
		if text != "" {
			h.mu.Lock()
			h.said = text
			h.mu.Unlock()
			h.log.Debug("slirp4netns printed", "line", text)
		}
		if strings.HasPrefix(text, gone) {
			h.kill()
			io.Copy(io.Discard, output)
			return
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// kill is safe at any time: os.Process knows whether the pid is still its own.
func (h *helper) kill() { h.process.Kill() }

// stop ends the helper on purpose.
func (h *helper) stop() {
	h.mu.Lock()
	h.stopping = true
	h.mu.Unlock()
	select {
	case <-h.done:
	default:
		h.kill()
		<-h.done
	}
}

func (h *helper) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cause
}
