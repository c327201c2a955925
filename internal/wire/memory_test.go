package wire

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMemoryExplains(t *testing.T) {
	file := filepath.Join(t.TempDir(), "memory.events")
	m := Memory{Events: file, LimitBytes: 20 << 20}
	display := End{Reason: ReasonError, Code: CodeDisplay, Detail: "display server died: signal: killed"}
	killed := End{Reason: ReasonAppExited, Signal: 9}
	left := End{Reason: ReasonLeft}
	for _, text := range []string{"", "low 0\noom 3\noom_kill 0\n", "oom_kill x\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := m.Explain(display, 0); got != display {
			t.Errorf("with %q the end is %v", text, got)
		}
	}
	for _, text := range []string{"low 0\noom 3\noom_kill 2\noom_group_kill 0\n", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, end := range []End{display, killed} {
			if got := m.Explain(end, 1); got.Code != CodeMemory || !strings.Contains(got.Detail, "the seat's memory limit of 20 MB was reached") || !strings.Contains(got.Detail, end.String()) {
				t.Errorf("with %q the end is %v", text, got)
			}
		}
		if got := m.Explain(display, 2); got != display {
			t.Errorf("long after the kernel ended programs the end is %v", got)
		}
		if got := m.Explain(left, 1); got != left {
			t.Errorf("a person who leaves ends the seat with %v", got)
		}
	}
	if got := (Memory{}).Explain(display, 0); got != display {
		t.Errorf("without a limit the end is %v", got)
	}
}
