package x11

import (
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestXauth has xauth read what is written here.
func TestXauth(t *testing.T) {
	if _, err := exec.LookPath("xauth"); err != nil {
		t.Skip("xauth is not installed (Debian's package is xauth)")
	}
	path := filepath.Join(t.TempDir(), "Xauthority")
	cookie := NewCookie()
	if err := os.WriteFile(path, Authority(cookie), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "xauth", "-q", "-f", path, "list").Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := cookieName + "  " + hex.EncodeToString(cookie[:]); !strings.Contains(string(out), want) {
		t.Errorf("xauth lists %q", out)
	}
}
