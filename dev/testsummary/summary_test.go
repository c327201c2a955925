package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestReal reads what a real go test says of a package where a test passes, one
// fails, one is skipped, one crashes and one package does not build.
func TestReal(t *testing.T) {
	cases := map[string]struct {
		source string
		last   string
		shows  []string
		ok     bool
	}{
		"passes": {
			source: `func TestA(t *testing.T) { t.Run("sub", func(t *testing.T) {}) }`,
			last:   "2 passed, 0 failed, 0 skipped", shows: []string{"ok    example"}, ok: true,
		},
		"skips": {
			source: `func TestA(t *testing.T) {}; func TestB(t *testing.T) { t.Skip("no GPU here") }`,
			last:   "1 passed, 0 failed, 1 skipped", shows: []string{"skipped  TestB (example): no GPU here"}, ok: true,
		},
		"fails": {
			source: `func TestA(t *testing.T) {}; func TestB(t *testing.T) { t.Error("one is not two") }`,
			last:   "1 passed, 1 failed, 0 skipped", shows: []string{"one is not two", "failed   TestB (example)", "FAIL  example"},
		},
		"crashes": {
			source: `func TestA(t *testing.T) { go panic("out of the blue"); select {} }`,
			last:   "0 passed, 1 failed, 0 skipped", shows: []string{"out of the blue"},
		},
		"does not build": {
			source: `func TestA(t *testing.T) { nowhere() }`,
			last:   "0 passed, 1 failed, 0 skipped", shows: []string{"undefined: nowhere", "failed   package example"},
		},
		"has no test": {
			source: `var _ testing.TB`,
			last:   "0 passed, 0 failed, 0 skipped",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{
				"go.mod":    "module example\n\ngo 1.26\n",
				"a_test.go": "package example\n\nimport \"testing\"\n\n" + c.source + "\n",
			} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), "go", "test", "-json", "./...")
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
			events, _ := cmd.Output() // it exits 1 where a test fails
			var shown bytes.Buffer
			s, err := read(bytes.NewReader(events), &shown)
			if err != nil {
				t.Fatal(err)
			}
			s.print(&shown)
			lines := strings.Split(strings.TrimSpace(shown.String()), "\n")
			if last := lines[len(lines)-1]; last != c.last {
				t.Errorf("last line %q, want %q", last, c.last)
			}
			for _, want := range c.shows {
				if !strings.Contains(shown.String(), want) {
					t.Errorf("does not show %q", want)
				}
			}
			if s.ok() != c.ok {
				t.Errorf("ok() = %v", s.ok())
			}
			if t.Failed() {
				t.Logf("events:\n%s\nshown:\n%s", events, shown.String())
			}
		})
	}
}
