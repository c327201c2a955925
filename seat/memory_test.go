package seat

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// A seat ends for want of memory if the kernel ended a program a moment before, and not if that
// was long ago.
func TestMemoryOfTheLastMoment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "memory.events")
	h := &streamHost{spec: wire.Spec{Memory: wire.Memory{Events: file, LimitBytes: 1 << 20}}}
	crashed := wire.End{Reason: wire.ReasonAppExited, ExitCode: 1}
	is := func(what, kills, want string) {
		t.Helper()
		testkit.Must(t, os.WriteFile(file, []byte("oom_kill "+kills+"\n"), 0o600))
		if got := h.explain(crashed); got.Code != want {
			t.Errorf("%s: %v", what, got)
		}
	}
	is("nothing was ended", "0", "")
	is("a program was ended", "1", wire.CodeMemory)
	h.kills.saw(1)
	is("it was ended a second ago", "1", wire.CodeMemory)
	for range killsFor {
		h.kills.saw(1)
	}
	is("it was ended long ago", "1", "")
	is("another one was ended", "2", wire.CodeMemory)
}
