package main

import (
	"path/filepath"
	"regexp"
	"strings"
)

// strays returns what a passed test's output says of others: a data race between two tests,
// or a handler that failed a test that had ended. It fails the package, and no test.
func strays(text string) []string {
	return append(reports(text), panics.FindAllString(text, -1)...)
}

// panics are those that an HTTP server takes for its handler's.
var panics = regexp.MustCompile(`(?m)^.*http: panic serving .*\n`)

// reports returns the data races that a text tells of, each as the race detector wrote it.
func reports(text string) (found []string) {
	const border = "==================\n"
	for {
		_, after, ok := strings.Cut(text, border+"WARNING: DATA RACE\n")
		if !ok {
			return found
		}
		report, rest, _ := strings.Cut(after, border)
		found = append(found, border+"WARNING: DATA RACE\n"+report+border)
		text = rest
	}
}

// told returns the lines that say why a test or a package failed: its data races, of which the
// rest is often a consequence, and what it said.
func told(text string) (lines []string) {
	for _, report := range reports(text) {
		lines = append(lines, brief(report)...)
	}
	return append(lines[:min(len(lines), most)], said(text)...)
}

var address = regexp.MustCompile(` at 0x[0-9a-f]+`)

// brief tells a report in a line for each of its stacks, innermost call first:
//
//	DATA RACE: Write by goroutine 8: brain.(*site).stop site_test.go:91, testing.tRunner testing.go:2036
func brief(report string) (lines []string) {
	var stack []string
	var heading string
	end := func() {
		if heading != "" {
			lines = append(lines, cut("DATA RACE: "+heading+" "+strings.Join(stack, ", ")))
		}
		heading, stack = "", nil
	}
	for line := range strings.Lines(report) {
		switch line = strings.TrimRight(line, "\n"); {
		case strings.HasPrefix(line, "      "): // where the call above it is
			file, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			if len(stack) > 0 {
				stack[len(stack)-1] += " " + filepath.Base(file)
			}
		case strings.HasPrefix(line, "  "):
			call := strings.TrimSuffix(strings.TrimSpace(line), "()")
			stack = append(stack, call[strings.LastIndex(call, "/")+1:])
		case strings.HasSuffix(line, ":"):
			end()
			heading = address.ReplaceAllString(line, "")
		}
	}
	end()
	return lines
}
