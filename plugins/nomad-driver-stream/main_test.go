package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/plugins/base"

	"github.com/nearcast/nearcast/internal/version"
)

// asPlugin makes this test binary the plugin.
const asPlugin = "NEARCAST_TEST_AS_PLUGIN"

func TestMain(m *testing.M) {
	if os.Getenv(asPlugin) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestStartedByHand(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{nil, {"--version"}} {
		cmd := exec.CommandContext(t.Context(), self, args...)
		cmd.Env = []string{asPlugin + "=1", base.Handshake.MagicCookieKey + "="}
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("%q ends with %v", args, err)
		}
		if s := string(out); !strings.HasPrefix(s, "nomad-driver-stream "+version.String()+" ") || strings.Count(s, "\n") != 1 {
			t.Errorf("%q says %q", args, s)
		}
	}
}
