package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/provision/cli"
	"github.com/nearcast/nearcast/provision/secrets"
)

// asProgram is set where the program of the tests is to be nearcast itself.
const asProgram = "NEARCAST_TEST_IS_NEARCAST"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestInterrupted sends a signal to processes that wait for an answer: a command that is to end by itself
// says what it left, and has the exit status that shells know; a service ends in order.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		testkit.Must(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	outputs, app := file("outputs.json", oneSite), file("app.nomad.hcl", `job "app" {}`)
	keys := filepath.Join(t.TempDir(), "secrets")
	_, err := secrets.Make(secrets.Config{Dir: keys, Sites: []string{"eu-1"}})
	testkit.Must(t, err)
	node := file("provision.env", "NEARCAST_ROLE='server'\nNEARCAST_SITE='eu-1'\nNEARCAST_JOIN='127.0.0.1'\n")
	private, public := testkit.TicketKeys(t, t.TempDir())
	cloud := func(command string) string { return "cloud " + command + " --no-aws --outputs " + outputs }
	// A command that would not go on without these gets a refusal, which it takes for an answer.
	answered := map[string][]string{"doctor": {"/v1/regions", "/v1/catalog/datacenters"}}
	for _, c := range []struct {
		args   string
		signal syscall.Signal
		status int
		says   []string // or, with a !, what it does not say
	}{
		{cloud("up"), syscall.SIGINT, 130, []string{"nearcast: cloud up was interrupted, and is not complete: ", "Run it again: it goes on"}},
		{cloud("up"), syscall.SIGTERM, 143, []string{"cloud up was interrupted"}},
		{cloud("roll"), syscall.SIGINT, 130, []string{"cloud roll was interrupted", "AWS still replaces the last of them"}},
		{cloud("publish " + app), syscall.SIGINT, 130, []string{"cloud publish was interrupted", "Only sites that it named with ok"}},
		{cloud("doctor"), syscall.SIGINT, 130, []string{"cloud doctor was interrupted, and is not complete: interrupt\n"}},
		{cloud("promote eu-1"), syscall.SIGINT, 130, []string{"cloud promote was interrupted", "If it was confirmed"}},
		{cloud("promote eu-1 --dry-run"), syscall.SIGINT, 130, []string{"cloud promote was interrupted", "!If it was confirmed"}},
		{cloud("rotate gossip --secrets " + keys), syscall.SIGINT, 130, []string{"cloud rotate was interrupted", "If a step was begun"}},
		{"app publish " + dir + " --to s3://content/app --endpoint SERVER", syscall.SIGINT, 130, []string{"app publish was interrupted", "If the block was printed"}},
		{"apikey list --consul HOST", syscall.SIGINT, 130, []string{"apikey list was interrupted, and is not complete"}},
		{"router --listen 127.0.0.1:0 --internal-listen 127.0.0.1:0 --consul HOST --ticket-key " + private + " --ticket-keys " + public, syscall.SIGTERM, 0, nil},
		{"provision drain --env " + node + " --secrets " + filepath.Join(keys, "eu-1", "server") + " --imds SERVER", syscall.SIGTERM, 0, nil},
		{"brain --listen 127.0.0.1:0 --internal-listen 127.0.0.1:0 --consul HOST --nomad http://HOST --ticket-keys " + public, syscall.SIGTERM, 0, nil},
	} {
		t.Run(strings.Join(append(strings.Fields(c.args)[:2], c.signal.String()), " "), func(t *testing.T) {
			t.Parallel()
			asked, release := make(chan struct{}, 100), make(chan struct{})
			refused := answered[strings.Fields(c.args)[1]]
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if slices.Contains(refused, r.URL.Path) {
					http.Error(w, "not you", http.StatusForbidden)
					return
				}
				asked <- struct{}{}
				select { // no answer
				case <-release:
				case <-r.Context().Done():
				}
			}))
			defer server.Close()
			defer close(release)
			host := strings.TrimPrefix(server.URL, "http://")
			args := strings.Fields(strings.NewReplacer("SERVER", server.URL, "HOST", host).Replace(c.args))
			if args[0] == "cloud" {
				args = append(args, "--nomad", host, "--consul", host)
			}
			cmd, said := self(t, args...)
			ended := testkit.Start(t, cmd).Done()
			select {
			case <-asked:
			case <-ended:
				t.Fatalf("it ended before it asked: %s", said.String())
			}
			testkit.Must(t, cmd.Process.Signal(c.signal))
			<-ended
			if status := cmd.ProcessState.ExitCode(); status != c.status {
				t.Errorf("the exit status is %d; want %d: %s", status, c.status, said.String())
			}
			for _, say := range c.says {
				say, not := strings.CutPrefix(say, "!")
				if strings.Contains(said.String(), say) == not {
					t.Errorf("that it says %q is %v: %s", say, not, said.String())
				}
			}
		})
	}
}

// TestInterruptedAtPrompt interrupts a command that waits for a person.
func TestInterruptedAtPrompt(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not you", http.StatusForbidden) }))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	outputs := filepath.Join(t.TempDir(), "outputs.json")
	testkit.Must(t, os.WriteFile(outputs, []byte(oneSite), 0o600))
	cmd, said := self(t, "cloud", "promote", "eu-1", "--no-aws", "--outputs", outputs, "--nomad", host, "--consul", host)
	stdin, err := cmd.StdinPipe()
	testkit.Must(t, err)
	defer stdin.Close()
	ended := testkit.Start(t, cmd).Done()
	testkit.Until(t, "it asks", func() bool { return strings.Contains(said.String(), "Type eu-1 to go on: ") })
	testkit.Must(t, cmd.Process.Signal(syscall.SIGINT))
	<-ended
	if status := cmd.ProcessState.ExitCode(); status != 130 || !strings.Contains(said.String(), "cloud promote was interrupted, and is not complete: nothing was changed: interrupt\n") {
		t.Errorf("the exit status is %d: %s", status, said)
	}
}

// TestInterruptedTwice interrupts a command that does not look whether it is interrupted: it reads what does
// not come.
func TestInterruptedTwice(t *testing.T) {
	cmd, said := self(t, "cloud", "up", "--no-aws", "--outputs", "-")
	stdin, err := cmd.StdinPipe()
	testkit.Must(t, err)
	defer stdin.Close()
	ended := testkit.Start(t, cmd).Done()
	_, err = stdin.Write(make([]byte, 1<<20)) // more than a pipe holds: then it reads
	testkit.Must(t, err)
	testkit.Until(t, "a second signal ends it", func() bool {
		_ = cmd.Process.Signal(syscall.SIGINT)
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGINT {
		t.Errorf("it ends with %s: %s", cmd.ProcessState, said)
	}
}

// TestServiceInterruptedTwice: a service ends in order, however many signals come.
func TestServiceInterruptedTwice(t *testing.T) {
	interrupt := func() { // which is taken when it returns
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		testkit.Must(t, unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGTERM))
	}
	ended := false
	parent := &cobra.Command{Use: "nearcast", SilenceUsage: true, SilenceErrors: true}
	service := &cobra.Command{Use: "serve", RunE: func(cmd *cobra.Command, _ []string) error {
		cli.Service(cmd) // as late as provision drain does
		interrupt()
		<-cmd.Context().Done()
		interrupt()
		ended = true
		return cmd.Context().Err()
	}}
	parent.AddCommand(service)
	if status := run(parent, []string{"serve"}, t.Output()); status != 0 || !ended {
		t.Errorf("the exit status is %d, and that it ended in order is %v", status, ended)
	}
}

// self is nearcast itself, with what it says on both streams.
func self(t *testing.T, args ...string) (cmd *exec.Cmd, said *testkit.Buffer) {
	t.Helper()
	cmd, said = exec.CommandContext(testkit.Context(t, time.Minute), os.Args[0], args...), new(testkit.Buffer)
	cmd.Env = append(os.Environ(), asProgram+"=yes", "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", "AWS_EC2_METADATA_DISABLED=false", "AWS_CONFIG_FILE="+os.DevNull)
	cmd.Stdout, cmd.Stderr = said, said
	return cmd, said
}
