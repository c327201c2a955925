package autoscaler_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad-autoscaler/plugins"

	"github.com/nearcast/nearcast/autoscaler"
	"github.com/nearcast/nearcast/internal/testkit"
)

// The autoscaler, here the test, starts no plugin again that has died: so it is ended, and Nomad
// starts both again.
func TestPluginThatDies(t *testing.T) {
	program := filepath.Join(t.TempDir(), autoscaler.Name)
	testkit.Must(t, testkit.Build(t.Context(), "plugins/"+autoscaler.Name, program))
	ended := make(chan os.Signal, 9)
	signal.Notify(ended, syscall.SIGTERM)
	defer signal.Stop(ended)

	cmd := exec.Command(program, "strategy")
	cmd.Env = append(testkit.Environ(), plugins.Handshake.MagicCookieKey+"="+plugins.Handshake.MagicCookieValue)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	testkit.Must(t, err)
	testkit.Must(t, cmd.Start())
	defer func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	}()
	handshake, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasSuffix(strings.TrimRight(handshake, "|\n"), "|grpc") {
		t.Fatalf("it says %q, %v", handshake, err)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", cmd.Process.Pid))
	testkit.Must(t, err)
	serves, err := strconv.Atoi(strings.TrimSpace(string(children)))
	if err != nil {
		t.Fatalf("its children: %q", children)
	}
	testkit.Must(t, syscall.Kill(serves, syscall.SIGKILL))
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the plugin has died, and the autoscaler goes on without it")
	}
}

// Settings that are read again, for which nomad-autoscaler has SIGHUP, leave the process in Consul:
// the records before and after have one id.
func TestSetConfigAgain(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	consul := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch path := r.URL.Path; {
		case path == "/v1/agent/service/register":
			asked = append(asked, "register")
		case strings.HasPrefix(path, "/v1/agent/service/deregister/"):
			asked = append(asked, "deregister")
		}
	}))
	defer consul.Close()
	is := func(want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		testkit.Retry(ctx, t, "it is in Consul as it should", func() error {
			mu.Lock()
			defer mu.Unlock()
			if got := strings.Join(asked, " "); got != want {
				return fmt.Errorf("Consul was asked to %s, want %s", got, want)
			}
			return nil
		})
	}
	apm := autoscaler.NewAPM(hclog.NewNullLogger())
	defer apm.Close()
	config := map[string]string{"consul": strings.TrimPrefix(consul.URL, "http://")}
	testkit.Must(t, apm.SetConfig(config))
	is("register")
	testkit.Must(t, apm.SetConfig(config))
	is("register deregister register")
	if err := apm.SetConfig(map[string]string{"consull": "x"}); err == nil {
		t.Error("a misspelt setting is taken")
	}
	is("register deregister register") // what was right before goes on
}
