package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// event is one line of go test -json, see "go doc test2json".
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build events
	Test        string
	Output      string
	Elapsed     float64
	FailedBuild string
}

// test names a test, or with an empty Test a package.
type test struct{ Package, Test string }

type skip struct {
	test
	reason string
}

type summary struct {
	passed, failed int
	skips          []skip
	broken         []string // packages that failed outside any test
	failures       []failure
}

// failure is a failed test, with the last lines that it said. The whole of its output may
// be megabytes, and what keeps a log may cut it.
type failure struct {
	test
	said []string
}

func (s *summary) ok() bool { return s.failed == 0 && len(s.broken) == 0 && s.passed > 0 }

// print writes the closing lines; the last one is the counts.
func (s *summary) print(w io.Writer) {
	fmt.Fprintln(w)
	for _, k := range s.skips {
		fmt.Fprintf(w, "skipped  %s (%s): %s\n", k.Test, short(k.Package), k.reason)
	}
	for _, f := range s.failures {
		fmt.Fprintf(w, "failed   %s (%s)\n", f.Test, short(f.Package))
		for _, line := range f.said {
			fmt.Fprintf(w, "           %s\n", line)
		}
	}
	for _, p := range s.broken {
		fmt.Fprintf(w, "failed   package %s\n", short(p))
	}
	// A package that does not build counts as a failure: programs read only this line.
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", s.passed, s.failed+len(s.broken), len(s.skips))
}

func short(pkg string) string { return strings.TrimPrefix(pkg, "github.com/nearcast/nearcast/") }

// read reads a test run, and shows packages and failures when they end.
func read(in io.Reader, out io.Writer) (*summary, error) {
	s := &summary{}
	output := make(map[test]*bytes.Buffer)
	failedIn := make(map[string]bool)
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			// A message of go itself: a bad flag, a bad pattern.
			fmt.Fprintln(out, lines.Text())
			continue
		}
		if e.ImportPath != "" {
			e.Package = e.ImportPath
		}
		id := test{e.Package, e.Test}
		switch e.Action {
		case "output", "build-output":
			if output[id] == nil {
				output[id] = new(bytes.Buffer)
			}
			output[id].WriteString(e.Output)
			continue
		case "pass", "fail", "skip":
		default:
			continue
		}
		var text string
		if output[id] != nil {
			text = output[id].String()
		}
		delete(output, id)
		if e.Test == "" {
			s.endPackage(e, text, failedIn[e.Package], output, out)
			continue
		}
		switch e.Action {
		case "pass":
			s.passed++
		case "skip":
			s.skips = append(s.skips, skip{id, reason(text)})
		case "fail":
			s.failed++
			s.failures = append(s.failures, failure{id, said(text)})
			failedIn[e.Package] = true
			fmt.Fprint(out, text)
		}
	}
	return s, lines.Err()
}

func (s *summary) endPackage(e event, text string, hasFailed bool, output map[test]*bytes.Buffer, out io.Writer) {
	switch {
	case e.Action == "pass":
		fmt.Fprintf(out, "ok    %s  %.1fs\n", e.Package, e.Elapsed)
	case e.Action == "fail":
		if e.FailedBuild != "" {
			key := test{Package: e.FailedBuild}
			if output[key] != nil {
				text = output[key].String() + text
			}
		}
		if !hasFailed {
			// It did not build, or crashed, or TestMain failed. The tests that were
			// running have no end of their own: show their output.
			s.broken = append(s.broken, e.Package)
			for id, buffer := range output {
				if id.Package == e.Package {
					text += buffer.String()
				}
			}
		}
		fmt.Fprintf(out, "%sFAIL  %s  %.1fs\n", text, e.Package, e.Elapsed)
	}
	for id := range output {
		if id.Package == e.Package {
			delete(output, id)
		}
	}
}

var position = regexp.MustCompile(`^\s*[\w.-]+\.go:\d+: `)

// said returns the last lines of a test that begin with a position, without what follows
// each: what it failed for, and what its cleanups said.
func said(text string) (lines []string) {
	const most, width = 8, 400
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\n"); position.MatchString(line) {
			line = strings.TrimSpace(line)
			lines = append(lines, line[:min(len(line), width)])
		}
	}
	return lines[max(0, len(lines)-most):]
}

// reason is the output of a skipped test, without the lines of go around it.
func reason(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		lines = append(lines, position.ReplaceAllString(line, ""))
	}
	if len(lines) == 0 {
		return "no reason given"
	}
	return strings.Join(lines, "; ")
}
