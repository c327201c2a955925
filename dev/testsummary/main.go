// Command testsummary reads the output of "go test -json" and shows a summary: each
// package when it ends, the whole output of what failed, and at the end each skipped
// test with its reason, each failed one, and each package that crashed or did not build,
// with the lines that say why, and one line of counts:
//
//	go test -json ./... | go run ./dev/testsummary
//
//	ok    github.com/nearcast/nearcast/router  1.2s
//	FAIL  github.com/nearcast/nearcast/brain  0.4s
//	…
//	skipped  TestCapture (seat/capture): x264enc is not installed
//	failed   TestPlan (brain)
//	           plan_test.go:21: 3 seats, want 4
//	231 passed, 1 failed, 1 skipped
//
// A data race that comes while no test runs fails a package and no test, and go test leaves it
// in the output of one that passed: it is shown with the package.
//
// It exits with 1 when a test failed, when a package did not build, and when no test ran.
package main

import (
	"fmt"
	"os"
)

func main() {
	summary, err := read(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsummary:", err)
		os.Exit(1)
	}
	summary.print(os.Stdout)
	if !summary.ok() {
		os.Exit(1)
	}
}
