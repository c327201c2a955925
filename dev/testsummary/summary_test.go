package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBroken reads a line of the Makefile's own, of a package that said nothing.
func TestBroken(t *testing.T) {
	var shown bytes.Buffer
	s, err := read(strings.NewReader(`{"Action":"fail","Package":"the fuzzers"}`), &shown)
	if err != nil || s.ok() || shown.String() != "FAIL  the fuzzers  0.0s\n" {
		t.Errorf("%v, %v, %q", err, s.ok(), &shown)
	}
}

// TestSaid keeps the end of what a test says, which is where it failed.
func TestSaid(t *testing.T) {
	var text strings.Builder
	for i := range 20 {
		fmt.Fprintf(&text, "    a_test.go:%d: stage %d\n        more\n", i, i)
	}
	fmt.Fprintf(&text, "    a_test.go:20: %s\n", strings.Repeat("x", 1000))
	got := said(text.String())
	if len(got) != 8 || got[6] != "a_test.go:19: stage 19" || len(got[7]) != 400 {
		t.Errorf("%q", got)
	}
	// What ended the program is kept, however much another test says after it.
	for _, crash := range []string{"panic: out of the blue", "fatal error: all goroutines are asleep - deadlock!", "signal: killed", "*** Test killed with quit: ran too long (11m0s)."} {
		if got := said(crash + "\n" + text.String()); len(got) != 8 || got[0] != crash || got[6] != "a_test.go:19: stage 19" {
			t.Errorf("%q", got)
		}
	}
	// No letter is split.
	if got := said("    a_test.go:1: " + strings.Repeat("x", 386) + "é"); len(got) != 1 || got[0] != "a_test.go:1: "+strings.Repeat("x", 386) {
		t.Errorf("%q", got)
	}
}

// TestRaceBetweenTests reads a race that came when one test had ended and the next had not
// begun. Go counts it for the package alone, and the output is that of a test that passed.
func TestRaceBetweenTests(t *testing.T) {
	report := "==================\nWARNING: DATA RACE\nRead at 0x00c000018258 by goroutine 10:\n  example.com/a/one.(*site).stop()\n      /src/a/one/site.go:8 +0x44\n  testing.tRunner()\n      /go/testing.go:2036 +0x21c\n" +
		"\nPrevious write at 0x00c000018258 by goroutine 9:\n  example.com/a/one.begin.func1()\n      /src/a/one/a_test.go:7 +0x56\n==================\n"
	events := []event{
		{Action: "output", Package: "one", Test: "TestA", Output: "=== RUN   TestA\n"},
		{Action: "output", Package: "one", Test: "TestA", Output: "--- PASS: TestA (0.00s)\n" + report},
		{Action: "pass", Package: "one", Test: "TestA"},
		{Action: "output", Package: "one", Output: "FAIL\n"},
		{Action: "fail", Package: "one", Elapsed: 1},
	}
	var lines, shown bytes.Buffer
	for _, e := range events {
		if err := json.NewEncoder(&lines).Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	s, err := read(&lines, &shown)
	if err != nil {
		t.Fatal(err)
	}
	if want := report + "FAIL\nFAIL  one  1.0s\n"; shown.String() != want {
		t.Errorf("shown: %s", &shown)
	}
	shown.Reset()
	s.print(&shown)
	want := `
failed   package one
           DATA RACE: Read by goroutine 10: one.(*site).stop site.go:8, testing.tRunner testing.go:2036
           DATA RACE: Previous write by goroutine 9: one.begin.func1 a_test.go:7
1 passed, 1 failed, 0 skipped
`
	if shown.String() != want {
		t.Errorf("the end: %s", &shown)
	}
}

// TestReal reads what a real go test says of a package where a test passes, one
// fails, one is skipped, one crashes and one package does not build.
func TestReal(t *testing.T) {
	cases := map[string]struct {
		source string
		also   string // another file
		args   []string
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
			last:   "1 passed, 1 failed, 0 skipped", shows: []string{"one is not two", "failed   TestB (example)\n           a_test.go:5: one is not two\n", "FAIL  example"},
		},
		"crashes": {
			source: `func TestA(t *testing.T) { go panic("out of the blue"); select {} }`,
			last:   "0 passed, 1 failed, 0 skipped", shows: []string{"failed   package example\n           panic: out of the blue\n           was running: TestA\n"},
		},
		"panics": {
			source: `func TestA(t *testing.T) { var none []int; _ = none[len(t.Name())] }`,
			last:   "0 passed, 1 failed, 0 skipped", shows: []string{"failed   TestA (example)\n           panic: runtime error: index out of range [5] with length 0"},
		},
		"races outside a test": {
			source: `var n int; func TestMain(m *testing.M) { end := make(chan bool); go func() { n++; close(end) }(); n++; <-end; m.Run() }; func TestA(t *testing.T) {}`, args: []string{"-race"},
			last: "1 passed, 1 failed, 0 skipped", shows: []string{"WARNING: DATA RACE\n", "failed   package example\n           DATA RACE: ", " by goroutine ", ": example.TestMain a_test.go:5, main.main _testmain.go:"},
		},
		"races in a test": {
			source: `func TestA(t *testing.T) { n, end := 0, make(chan bool); go func() { n++; close(end) }(); n++; <-end }`, args: []string{"-race"},
			last: "0 passed, 1 failed, 0 skipped", shows: []string{"failed   TestA (example)\n           DATA RACE: ", "testing.go:"},
		},
		"a handler fails a test that has ended": {
			source: `import ("net/http"; "net/http/httptest"); var s *httptest.Server; func TestA(t *testing.T) { s = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("late") })) }; func TestB(t *testing.T) { http.Get(s.URL); s.Close() }`,
			last:   "2 passed, 1 failed, 0 skipped", shows: []string{"failed   package example\n           ", "http: panic serving ", ": Fail in goroutine after TestA has completed\n2 passed"},
		},
		"crashes outside a test": {
			source: `func TestMain(m *testing.M) { panic("no display") }`,
			last:   "0 passed, 1 failed, 0 skipped", shows: []string{"failed   package example\n           panic: no display\n"},
		},
		"runs out of time": {
			source: `func TestA(t *testing.T) { select {} }`, args: []string{"-timeout=100ms"},
			last: "0 passed, 1 failed, 0 skipped", shows: []string{"failed   package example\n           panic: test timed out after 100ms\n           was running: TestA\n"},
		},
		"fails, and then crashes": {
			source: `func TestA(t *testing.T) { t.Error("one is not two") }; func TestB(t *testing.T) { go panic("out of the blue"); select {} }`,
			last:   "0 passed, 2 failed, 0 skipped", shows: []string{"failed   TestA (example)\n           a_test.go:5: one is not two\nfailed   package example\n           panic: out of the blue\n           was running: TestB\n"},
		},
		"tests what does not build": {
			source: `func TestA(t *testing.T) {}`, also: "package example\n\nvar a = nowhere\n",
			last: "0 passed, 1 failed, 0 skipped", shows: []string{"failed   package example\n           ./a.go:3:9: undefined: nowhere\n0 passed"},
		},
		"names a package that there is not": {
			source: `import _ "example/nowhere"; func TestA(t *testing.T) {}`,
			last:   "0 passed, 1 failed, 0 skipped", shows: []string{"failed   package example\n           a_test.go:5:8: package example/nowhere is not in std"},
		},
		"does not pass go vet": {
			source: `func TestA(t *testing.T) { t.Errorf("%d", "one") }`,
			last:   "0 passed, 1 failed, 0 skipped", shows: []string{"failed   package example\n           ./a_test.go:5:38: "},
		},
		"does not build": {
			source: `func TestA(t *testing.T) { nowhere() }`,
			last:   "0 passed, 1 failed, 0 skipped", shows: []string{"failed   package example\n           ./a_test.go:5:28: undefined: nowhere\n"},
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
				"a.go":      cmp.Or(c.also, "package example\n"),
			} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), "go", append([]string{"test", "-json", "./..."}, c.args...)...)
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
