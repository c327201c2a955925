// Package day2 holds docs/DEPLOY.md to its word: what the document says was run
// is run here, as it stands there, on a real site.
package day2

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/provision/clustertest"
)

var (
	blockStart = regexp.MustCompile("(?m)^```sh\n")
	blocks     = regexp.MustCompile("(?m)^\\*(run|run by hand|not run)(?:: ([^*\n]+))?\\*\n```sh\n((?s:.*?))^```$")
)

// block is a piece of the document that can be copied into a shell.
type block struct{ mark, name, text string }

// document reads docs/DEPLOY.md.
func document(t testing.TB) (all []block) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(clustertest.Source(t), "docs", "DEPLOY.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range blocks.FindAllStringSubmatch(string(text), -1) {
		// What follows a dash tells the reader more.
		name, _, _ := strings.Cut(m[2], " — ")
		all = append(all, block{m[1], name, m[3]})
	}
	if n := len(blockStart.FindAllString(string(text), -1)); n != len(all) || n < 20 {
		t.Fatalf("docs/DEPLOY.md has %d blocks, and %d of them say whether they were run", n, len(all))
	}
	return all
}

// TestDocument checks what can be without a site: every block says whether it was
// run and where, or why not, and the names it gives are those of this package.
func TestDocument(t *testing.T) {
	steps, err := os.ReadFile("day2_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, b := range document(t) {
		switch {
		case b.mark == "not run" && b.name == "":
			t.Errorf("a block does not say why it was not run:\n%s", b.text)
		case b.mark == "run" && (slices.Contains(names, b.name) || !strings.Contains(string(steps), `"`+b.name+`"`)):
			t.Errorf("%q is run by no test, or stands there twice", b.name)
		}
		names = append(names, b.name)
		if out, err := exec.CommandContext(t.Context(), "bash", "-n", "-c", b.text).CombinedOutput(); err != nil {
			t.Errorf("no shell reads this: %s\n%s", out, b.text)
		}
	}
}

// nearcast are the calls of the program in the document's blocks.
var nearcast = regexp.MustCompile(`(?m)(?:^|&& |\$\()nearcast ([a-z-]+(?: [a-z]+)?)`)

// TestHelp asks each command of nearcast that the document names what it is.
func TestHelp(t *testing.T) {
	bin := build(t)
	calls := map[string]bool{"provision secrets": true, "provision configure": true}
	for _, b := range document(t) {
		for _, m := range nearcast.FindAllStringSubmatch(b.text, -1) {
			calls[m[1]] = true
		}
	}
	if len(calls) < 4 {
		t.Errorf("the document names only %v", calls)
	}
	for call := range calls {
		words := strings.Fields(call)
		if words[0] == "ticket-key" {
			words = words[:1]
		}
		out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "nearcast"), append(words, "--help")...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "nearcast "+strings.Join(words, " ")) {
			t.Errorf("nearcast %s --help: %v: %s", strings.Join(words, " "), err, out)
		}
	}
}
