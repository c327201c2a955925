package nodetest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	blockStart = regexp.MustCompile("(?m)^```sh\n")
	blocks     = regexp.MustCompile("(?m)^\\*(run|run by TestBareMachines|run by hand|not run)(?:: ([^*\n]+))?\\*\n```sh\n((?s:.*?))^```$")
)

// Block is a part of docs/DEPLOY.md or docs/RECOVER.md for a shell. Its mark says which test runs it by its
// name: "run" is package day2, "run by TestBareMachines" the test in package provision. No
// test runs a block with the mark "run by hand" or "not run".
type Block struct{ Mark, Name, Text string }

// Document reads both, which an operator follows.
func Document(t testing.TB) (all []Block) {
	t.Helper()
	var text []byte
	for _, name := range []string{"DEPLOY.md", "RECOVER.md"} {
		one, err := os.ReadFile(filepath.Join(Source(t), "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, one...)
	}
	for _, m := range blocks.FindAllStringSubmatch(string(text), -1) {
		// The text after a dash is for the reader.
		name, _, _ := strings.Cut(m[2], " — ")
		all = append(all, Block{m[1], name, m[3]})
	}
	if n := len(blockStart.FindAllString(string(text), -1)); n != len(all) || n < 20 {
		t.Fatalf("the documents have %d blocks, and %d of them say whether they were run", n, len(all))
	}
	return all
}
