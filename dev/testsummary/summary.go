package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
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
	broken         []failure // packages that failed outside any test that ended
	failures       []failure
}

// failure is a failed test or package, with the lines that say why. The whole of its output
// may be megabytes, and what keeps a log may cut it.
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
	for _, f := range slices.Concat(s.failures, s.broken) {
		if f.Test == "" {
			fmt.Fprintf(w, "failed   package %s\n", short(f.Package))
		} else {
			fmt.Fprintf(w, "failed   %s (%s)\n", f.Test, short(f.Package))
		}
		for _, line := range f.said {
			fmt.Fprintf(w, "           %s\n", line)
		}
	}
	// A package that does not build, or crashes, counts as a failure: programs read only this line.
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", s.passed, s.failed+len(s.broken), len(s.skips))
}

func short(pkg string) string { return strings.TrimPrefix(pkg, "github.com/nearcast/nearcast/") }

// read reads a test run, and shows packages and failures when they end.
func read(in io.Reader, out io.Writer) (*summary, error) {
	s := &summary{}
	output := make(map[test]*bytes.Buffer)
	builds := make(map[string]string)
	failedIn := make(map[string]bool)
	stray := make(map[string][]string)
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			// A message of go itself: a bad flag, a bad pattern.
			fmt.Fprintln(out, lines.Text())
			continue
		}
		id := test{e.Package, e.Test}
		switch e.Action {
		case "build-output":
			builds[e.ImportPath] += e.Output
			continue
		case "output":
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
			s.endPackage(e, builds[e.FailedBuild], strings.Join(stray[e.Package], "")+text, failedIn[e.Package], output, out)
			delete(stray, e.Package)
			continue
		}
		if e.Action != "fail" {
			stray[e.Package] = append(stray[e.Package], strays(text)...)
		}
		switch e.Action {
		case "pass":
			s.passed++
		case "skip":
			s.skips = append(s.skips, skip{id, reason(text)})
		case "fail":
			s.failed++
			s.failures = append(s.failures, failure{id, told(text)})
			failedIn[e.Package] = true
			fmt.Fprint(out, text)
		}
	}
	return s, lines.Err()
}

func (s *summary) endPackage(e event, build, text string, hasFailed bool, output map[test]*bytes.Buffer, out io.Writer) {
	switch {
	case e.Action == "pass":
		fmt.Fprintf(out, "ok    %s  %.1fs\n", e.Package, e.Elapsed)
	case e.Action == "fail":
		why := failure{test{Package: e.Package}, complaints(build)}
		text = build + text
		// Where it crashed or its time was over, the tests that were running have no end of
		// their own: show their output.
		var running []string
		for id := range output {
			if id.Package == e.Package {
				running = append(running, id.Test)
			}
		}
		slices.Sort(running)
		for _, name := range running {
			text += output[test{e.Package, name}].String()
		}
		if !hasFailed || len(running) > 0 {
			if why.said == nil {
				why.said = told(text)
			}
			if len(running) > 0 {
				why.said = append(why.said, cut("was running: "+strings.Join(running, ", ")))
			}
			s.broken = append(s.broken, why)
		}
		fmt.Fprintf(out, "%sFAIL  %s  %.1fs\n", text, e.Package, e.Elapsed)
	}
	for id := range output {
		if id.Package == e.Package {
			delete(output, id)
		}
	}
}

// most is how many lines are kept of what failed.
const most = 8

var (
	position = regexp.MustCompile(`^\s*[\w.-]+\.go:\d+: `)
	crash    = regexp.MustCompile(`^(panic|fatal error|signal): |^\*\*\* Test killed |http: panic serving `)
)

// said returns the last lines of a test that begin with a position, without what follows
// each: what it failed for, and what its cleanups said. Lines that say why the program
// ended are kept, whatever comes after them.
func said(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if !position.MatchString(line) && !crash.MatchString(line) {
			continue
		}
		if lines = append(lines, cut(line)); len(lines) > most {
			drop := max(0, slices.IndexFunc(lines, func(line string) bool { return !crash.MatchString(line) }))
			lines = slices.Delete(lines, drop, drop+1)
		}
	}
	return lines
}

// complaints returns the first lines of a build, without its headings: errors often follow from
// the first one.
func complaints(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if line = cut(line); line != "" && !strings.HasPrefix(line, "# ") && len(lines) < most {
			lines = append(lines, line)
		}
	}
	return lines
}

// cut shortens a line, and splits no letter.
func cut(line string) string {
	const width = 400
	line = strings.TrimSpace(line)
	return strings.ToValidUTF8(line[:min(len(line), width)], "")
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
