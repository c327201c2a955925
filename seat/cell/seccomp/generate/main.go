// Command generate writes the programs of package seccomp, in whose folder it runs:
//
//	go generate ./seat/cell/seccomp
package main

import (
	"fmt"
	"os"

	"github.com/nearcast/nearcast/seat/cell/seccomp/policy"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	files, err := policy.Render()
	if err != nil {
		return err
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
