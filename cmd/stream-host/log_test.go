package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
)

// However much is written, by the process or by a library, the log stays bounded, and its
// end is there.
func TestLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	testkit.Must(t, err)
	defer file.Close()
	const most = 1 << 20
	log := slog.New(slog.NewJSONHandler(&boundedLog{file: file, max: most}, nil))
	for i := range 40_000 {
		log.Info("a stranger came", "number", i, "said", strings.Repeat("x", 50))
		if i%10 == 0 {
			file.WriteString("a library prints this\n")
		}
	}
	text, err := os.ReadFile(path)
	testkit.Must(t, err)
	if len(text) > most+2*lookEvery {
		t.Errorf("the log has %d bytes", len(text))
	}
	if !bytes.Contains(text, []byte(`"number":39999`)) || !bytes.HasPrefix(text, []byte(`{"level":"WARN","msg":"the log was emptied`)) {
		t.Errorf("it begins with %.80q, and ends with %.80q", text, text[len(text)-80:])
	}
}
