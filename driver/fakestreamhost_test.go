package driver

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/unixuser"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell/enter"
)

// The test binary is also a fake keeper with its stream host: it speaks the protocol of
// internal/wire/streamhost.go and runs the task's command, without a display. The
// task's environment tells it to misbehave:
//
//	FAKE=vanish     dies without writing exit.json once the app runs
//	FAKE=silent     never serves its control socket
//	FAKE=deaf       accepts /stop and does nothing
//	FAKE=refuse     writes exit.json at once, without serving its control socket
//	FAKE=disk       writes at once that the disk failed, in the same way
//	FAKE=left       ends with reason "left" when it gets SIGUSR1 for the app
//	FAKE=parricide  kills the plugin, which waits for its answer
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == enter.Arg {
		os.Exit(enter.Run(os.Args[2:]))
	}
	if len(os.Args) > 2 && os.Args[1] == "--spec" {
		if err := fakeStreamHost(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == "fingerprint" {
		// ASKED in the answer stands for what the driver asked.
		fmt.Println(strings.ReplaceAll(os.Getenv("GST_FAKE_FINGERPRINT"), "ASKED", strconv.Quote(os.Args[len(os.Args)-1])))
		os.Exit(0)
	}
	if len(os.Args) > 2 && os.Args[1] == startArg {
		startAndDie(os.Args[2])
	}
	os.Exit(m.Run())
}

type fake struct {
	spec   wire.Spec
	app    *exec.Cmd
	mu     sync.Mutex
	events []wire.StreamHostEvent
	grew   chan struct{}
	ends   chan wire.End

	followers, sent int           // how many there are; events that some follower got
	heard           chan struct{} // closed when one of these changes
}

func fakeStreamHost(specPath string) error {
	b, err := os.ReadFile(specPath)
	if err != nil {
		return err
	}
	f := &fake{grew: make(chan struct{}), heard: make(chan struct{}), ends: make(chan wire.End, 4)}
	if err := json.Unmarshal(b, &f.spec); err != nil {
		return err
	}
	switch f.spec.Env["FAKE"] {
	case "silent":
		fmt.Fprintln(os.Stderr, "the fake is silent")
		select {}
	case "refuse":
		return f.exit(wire.End{Reason: wire.ReasonError, Code: wire.CodeConfig, Detail: "the fake refuses"})
	case "disk":
		return f.exit(wire.End{Reason: wire.ReasonError, Code: wire.CodeDiskFailed, Detail: "the fake's disk"})
	}

	f.tell("fetching content", map[string]string{"phase": "content"})
	f.app = exec.Command(f.spec.Command, f.spec.Args...)
	f.app.Dir = f.spec.TaskDir
	for k, v := range f.spec.Env {
		f.app.Env = append(f.app.Env, k+"="+v)
	}
	for _, out := range []struct {
		path string
		to   **os.File
	}{{f.spec.Stdout, new(*os.File)}, {f.spec.Stderr, new(*os.File)}} {
		if out.path == "" {
			continue
		}
		if *out.to, err = os.OpenFile(out.path, os.O_WRONLY, 0); err != nil {
			return err
		}
		if out.path == f.spec.Stdout {
			f.app.Stdout = *out.to
		} else {
			f.app.Stderr = *out.to
		}
	}
	f.app.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if f.spec.User != "" {
		u, err := unixuser.Lookup(f.spec.User)
		if err != nil {
			return f.exit(wire.End{Reason: wire.ReasonError, Code: wire.CodeConfig, Detail: err.Error()})
		}
		f.app.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID)}
	}
	if f.spec.Isolate {
		f.app.SysProcAttr.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET
	}
	if err := f.app.Start(); err != nil {
		f.exit(wire.End{Reason: wire.ReasonError, Code: wire.CodeAppNotFound, Detail: err.Error()})
		return err
	}
	go func() {
		f.app.Wait()
		ws := f.app.ProcessState.Sys().(syscall.WaitStatus)
		end := wire.End{Reason: wire.ReasonAppExited, ExitCode: max(0, ws.ExitStatus())}
		if ws.Signaled() {
			end.Signal = int(ws.Signal())
		}
		f.ends <- end
	}()
	if f.spec.Env["FAKE"] == "parricide" {
		unix.Kill(os.Getppid(), unix.SIGKILL)
	}
	f.tell("app started", map[string]string{"phase": "app"})
	f.tell("ready", map[string]string{"phase": "ready"})

	l, err := net.Listen("unix", filepath.Join(f.spec.RunDir, wire.ControlSocket))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.StatusPath, f.status)
	mux.HandleFunc("GET "+wire.EventsPath, f.follow)
	mux.HandleFunc("POST "+wire.StopPath, f.stop)
	mux.HandleFunc("POST "+wire.SignalPath, f.signal)
	go http.Serve(l, mux)

	if f.spec.Env["FAKE"] == "vanish" {
		fmt.Fprintln(os.Stderr, "the fake vanishes")
		f.awaitFollower(true)
		unix.Kill(os.Getpid(), unix.SIGKILL)
	}
	end := <-f.ends
	unix.Kill(f.app.Process.Pid, unix.SIGKILL)
	f.tell("ending", nil)
	f.awaitFollower(false)
	return f.exit(end)
}

// awaitFollower returns when a follower was sent every event; at once where
// there is no follower and none is to come.
func (f *fake) awaitFollower(comes bool) {
	for {
		f.mu.Lock()
		over, heard := f.sent == len(f.events) || f.followers == 0 && !comes, f.heard
		f.mu.Unlock()
		if over {
			return
		}
		<-heard
	}
}

// hear notes what followers got.
func (f *fake) hear(followers, sent int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.followers += followers
	f.sent = max(f.sent, sent)
	close(f.heard)
	f.heard = make(chan struct{})
}

func (f *fake) exit(end wire.End) error {
	b, _ := json.Marshal(wire.Exit{Nonce: f.spec.Nonce, Time: time.Now(), End: end})
	return writeFile(filepath.Join(f.spec.RunDir, wire.ExitFile), b)
}

func (f *fake) tell(message string, annotations map[string]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, wire.StreamHostEvent{
		Seq: len(f.events) + 1, Time: time.Now(), Message: message, Annotations: annotations,
	})
	close(f.grew)
	f.grew = make(chan struct{})
}

func (f *fake) status(w http.ResponseWriter, _ *http.Request) {
	json.NewEncoder(w).Encode(wire.StreamHostStatus{
		Nonce: f.spec.Nonce, PID: os.Getpid(), AppPID: f.app.Process.Pid, InitPID: f.app.Process.Pid,
		State: wire.SeatState(cmp.Or(f.spec.Env["FAKE_STATE"], string(wire.SeatIdle))),
	})
}

func (f *fake) follow(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.Atoi(r.URL.Query().Get("after"))
	f.hear(1, 0)
	defer f.hear(-1, 0)
	for {
		f.mu.Lock()
		var more []wire.StreamHostEvent
		if after < len(f.events) {
			more = f.events[after:]
		}
		grew := f.grew
		f.mu.Unlock()
		for _, e := range more {
			json.NewEncoder(w).Encode(e)
			after = e.Seq
		}
		w.(http.Flusher).Flush()
		f.hear(0, after)
		select {
		case <-r.Context().Done():
			return
		case <-grew:
		}
	}
}

func (f *fake) stop(w http.ResponseWriter, r *http.Request) {
	var req wire.StopRequest
	json.NewDecoder(r.Body).Decode(&req)
	w.WriteHeader(http.StatusAccepted)
	if f.spec.Env["FAKE"] == "deaf" {
		return
	}
	f.tell(fmt.Sprintf("stop signal=%q timeout=%d", req.Signal, req.TimeoutMS), nil)
	f.ends <- wire.End{Reason: req.Reason}
}

func (f *fake) signal(w http.ResponseWriter, r *http.Request) {
	var req wire.SignalRequest
	json.NewDecoder(r.Body).Decode(&req)
	if f.spec.Env["FAKE"] == "left" {
		f.ends <- wire.End{Reason: wire.ReasonLeft}
	} else {
		unix.Kill(f.app.Process.Pid, unix.SignalNum(req.Signal))
	}
	w.WriteHeader(http.StatusNoContent)
}

// eventually waits until ok, with a deadline that is meant for a busy machine:
// a Nomad client that was turned away registers again after up to 30 s.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	testkit.Within(t, 75*time.Second, what, ok)
}
