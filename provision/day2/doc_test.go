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

// TestDocument checks what can be without a site: every block says whether it was
// run and where, or why not, and the names it gives are those of this package.
func TestDocument(t *testing.T) {
	steps := map[string]string{}
	for mark, file := range map[string]string{"run": "day2_test.go", "run by TestBareMachines": "../restarts_test.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		steps[mark] = string(text)
	}
	var names []string
	for _, b := range clustertest.Document(t) {
		text, tested := steps[b.Mark]
		switch {
		case b.Mark == "not run" && b.Name == "":
			t.Errorf("a block does not say why it was not run:\n%s", b.Text)
		case tested && (slices.Contains(names, b.Name) || !strings.Contains(text, `"`+b.Name+`"`)):
			t.Errorf("%q is run by no test, or stands there twice", b.Name)
		}
		names = append(names, b.Name)
		if out, err := exec.CommandContext(t.Context(), "bash", "-n", "-c", b.Text).CombinedOutput(); err != nil {
			t.Errorf("no shell reads this: %s\n%s", out, b.Text)
		}
	}
}

// nearcast are the calls of the program in the document's blocks.
var nearcast = regexp.MustCompile(`(?m)(?:^|&& |\$\()nearcast ([a-z-]+(?: [a-z]+)?)`)

// TestHelp asks each command of nearcast that the document names what it is.
func TestHelp(t *testing.T) {
	bin := build(t)
	calls := map[string]bool{"provision secrets": true, "provision configure": true}
	for _, b := range clustertest.Document(t) {
		for _, m := range nearcast.FindAllStringSubmatch(b.Text, -1) {
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
