package provision_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
)

// TestRenewScript: an agent restarts where it began before a file that it reads at its start alone
// changed, and else reloads; Consul is last, and nothing starts an agent that does not run.
func TestRenewScript(t *testing.T) {
	script, err := filepath.Abs("renew.sh")
	testkit.Must(t, err)
	for _, c := range []struct {
		name, changed string // after the agents' start
		stopped       string
		fails         string
		want          string
	}{
		{name: "a certificate", want: "nearcast provision configure\nreload-or-restart nomad.service\nreload-or-restart consul.service\nnearcast provision show\n"},
		{name: "a token of Nomad", changed: "nomad.d/agent.hcl", want: "nearcast provision configure\nrestart nomad.service\nreload-or-restart consul.service\nnearcast provision show\n"},
		{name: "a server's first token", changed: "consul.d/server.hcl", want: "nearcast provision configure\nreload-or-restart nomad.service\nrestart consul.service\nnearcast provision show\n"},
		{name: "a token of Consul's agent", changed: "consul.d/agent.hcl", want: "nearcast provision configure\nreload-or-restart nomad.service\nreload-or-restart consul.service\nnearcast provision show\n"},
		{name: "Nomad does not run", stopped: "nomad.service", want: "nearcast provision configure\nreload-or-restart consul.service\nnearcast provision show\n"},
		{name: "Consul does not run", stopped: "consul.service", want: "nearcast provision configure\nreload-or-restart nomad.service\n"},
		{name: "Nomad does not reload", fails: "nomad.service", want: "nearcast provision configure\nreload-or-restart nomad.service\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			put := func(name, text string, at time.Time) {
				t.Helper()
				path := filepath.Join(dir, name)
				testkit.Must(t, os.MkdirAll(filepath.Dir(path), 0o755))
				testkit.Must(t, os.WriteFile(path, []byte(text), 0o755))
				testkit.Must(t, os.Chtimes(path, at, at))
			}
			began := time.Now().Add(-time.Hour)
			for _, name := range []string{"nomad.d/agent.hcl", "consul.d/agent.hcl", "consul.d/server.hcl"} {
				at := began.Add(-time.Millisecond)
				if name == c.changed {
					at = began.Add(time.Millisecond)
				}
				put(name, "", at)
			}
			put("bin/nearcast", "#!/bin/sh\necho nearcast \"$@\" >>"+dir+"/log\n", began)
			put("bin/systemctl", `#!/bin/sh
case $1 in
  is-active) [ "$3" != "`+c.stopped+`" ] ;;
  show) echo "`+began.UTC().Format("Mon 2006-01-02 15:04:05.000000 MST")+`" ;;
  *) echo "$@" >>`+dir+`/log; [ "$2" != "`+c.fails+`" ] ;;
esac
`, began)
			cmd := exec.CommandContext(t.Context(), script)
			cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "NEARCAST_ETC="+dir)
			out, err := cmd.CombinedOutput()
			if (err != nil) != (c.fails != "") {
				t.Errorf("%v: %s", err, out)
			}
			log, err := os.ReadFile(filepath.Join(dir, "log"))
			if err != nil || string(log) != c.want {
				t.Errorf("it did %q, %v; want %q; it said %s", log, err, c.want, out)
			}
		})
	}
}
