// Package attack is the hostile app: what a program tries that wants more than its own
// seat. The testapp runs it with -attack; e2e/cell looks at what came out.
//
//	testapp -attack sysv-shm,ptrace -attack-args '{"targets":[{"role":"victim app","pid":4711,"start":99,"comm":"testapp"}]}'
//
// It prints a JSON line for each attack, and a last one:
//
//	{"type":"attack","name":"ptrace","outcome":"refused","detail":"victim app: not visible"}
//	{"type":"attacks_done"}
//
// An outcome is one of these:
//
//   - succeeded: the attack got something beyond its own seat. The detail holds the
//     proof, for example a secret that only the other seat knew.
//   - refused: a defence stopped it. The detail names the error. What the app cannot
//     see, because it is not in its namespaces, is refused too.
//   - unavailable: there was nothing to attack, or the tool for it is missing. This
//     says nothing about a defence, so a test takes it for a broken test.
//   - planted: the attack left something for a process with more rights to fall for.
//     Only who looks from outside can tell whether it worked.
//
// Each attack runs in a process of its own, so that one which the kernel kills does not
// end the others. It has five seconds, or twenty if it takes much of the node. "all" means every attack but those
// that would end the app or fill the log; these run only by name.
//
// The attacks harm nothing that they were not given: they write back the value that is
// there, signal with 0, attach to processes of Args alone, and connect to sockets within
// Args.SocketScope alone.
package attack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Outcome is how an attack went.
type Outcome string

const (
	Succeeded   Outcome = "succeeded"
	Refused     Outcome = "refused"
	Unavailable Outcome = "unavailable"
	Planted     Outcome = "planted"
)

// Result is the line that is printed for an attack.
type Result struct {
	Type    string  `json:"type"` // TypeAttack
	Name    string  `json:"name"`
	Outcome Outcome `json:"outcome"`
	Detail  string  `json:"detail"`
}

// Types of the lines.
const (
	TypeAttack = "attack"
	TypeDone   = "attacks_done"
	TypeBait   = "bait"
)

// limit is how long an attack may take, slowLimit one that takes much of the node, or many steps.
const limit, slowLimit = 5 * time.Second, 20 * time.Second

// one is an attack of the list.
type one struct {
	name string
	run  func(context.Context, *attacker) Result
	// named means that "all" leaves it out.
	named bool
	slow  bool
}

func (a one) limit() time.Duration {
	if a.slow {
		return slowLimit
	}
	return limit
}

// Names lists all attacks, or those that "all" runs.
func Names(all bool) (names []string) {
	for _, a := range attacks {
		if all || !a.named {
			names = append(names, a.name)
		}
	}
	return names
}

func find(name string) (one, bool) {
	i := slices.IndexFunc(attacks, func(a one) bool { return a.name == name })
	if i < 0 {
		return one{}, false
	}
	return attacks[i], true
}

// Parse checks the values of -attack and -attack-args.
func Parse(list, args string) (names []string, err error) {
	if _, err := parseArgs(args); err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(list, ",") {
		switch _, ok := find(name); {
		case name == "all":
			names = append(names, Names(false)...)
		case !ok:
			return nil, fmt.Errorf("-attack: there is no attack %q; these are: all, %s", name, strings.Join(Names(true), ", "))
		default:
			names = append(names, name)
		}
	}
	return names, nil
}

// childEnv is set in the process of one attack. Its value is the pid of the app.
const childEnv = "NEARCAST_ATTACK_OF"

// Run runs attacks, one after the other, each in a process of its own, and writes their
// lines.
func Run(names []string, args string, out io.Writer) error {
	spareThreads()
	enc := json.NewEncoder(out)
	for _, name := range names {
		if err := enc.Encode(runChild(name, args, out)); err != nil {
			return fmt.Errorf("write outcome: %w", err)
		}
	}
	return enc.Encode(map[string]string{"type": TypeDone})
}

func runChild(name, args string, out io.Writer) Result {
	r := Result{Type: TypeAttack, Name: name, Outcome: Refused}
	a, _ := find(name)
	ctx, cancel := context.WithTimeout(context.Background(), a.limit()+2*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-attack", name, "-attack-args", args)
	cmd.Env = append(os.Environ(), childEnv+"="+strconv.Itoa(os.Getpid()))
	var complained bytes.Buffer
	cmd.Stdin, cmd.Stderr = os.Stdin, io.MultiWriter(os.Stderr, &complained)
	// A process group of its own: all that an attack has started ends with it, unless
	// it wants to stay.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	said, err := cmd.Output()
	if i := strings.LastIndexByte(strings.TrimRight(string(said), "\n"), '\n'); i >= 0 {
		_, _ = out.Write(said[:i+1]) // what the attack itself printed
		said = said[i+1:]
	}
	var printed Result
	if json.Unmarshal(said, &printed) == nil && printed.Name == name {
		return printed
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		r.Detail = fmt.Sprintf("it hung for %s and was ended", a.limit())
	case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled():
		r.Detail = "its process was killed: " + exit.Sys().(syscall.WaitStatus).Signal().String()
	case errors.As(err, &exit) && bytes.Contains(complained.Bytes(), []byte("failed to create new OS thread")):
		r.Detail = "its process could not make a thread, and ended"
	default:
		r.Outcome, r.Detail = Unavailable, fmt.Sprintf("its process ended without an outcome: %v %q", err, said)
	}
	return r
}

// spareThreads makes threads before an attack leaves no room for any: Go's runtime keeps
// them, and ends the process where it needs one and cannot make it.
func spareThreads() {
	const spare = 16
	var made, end sync.WaitGroup
	made.Add(spare)
	end.Add(1)
	for range spare {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			made.Done()
			end.Wait()
		}()
	}
	made.Wait()
	end.Done()
}

// IsChild reports whether this process is one that Run started.
func IsChild() bool { return os.Getenv(childEnv) != "" }

// RunHere runs one attack in this process and writes its line. It is for the process
// that Run starts.
func RunHere(name, args string, out io.Writer) error {
	a, ok := find(name)
	if !ok {
		return fmt.Errorf("there is no attack %q", name)
	}
	parsed, err := parseArgs(args)
	if err != nil {
		return err
	}
	spareThreads()
	ctx, cancel := context.WithTimeout(context.Background(), a.limit())
	defer cancel()
	r := a.run(ctx, newAttacker(parsed))
	r.Type, r.Name = TypeAttack, name
	return json.NewEncoder(out).Encode(r)
}
