package cell

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/dev/testapp/attack"
	"github.com/nearcast/nearcast/internal/testkit"
)

var update = flag.Bool("update", false, "write the table of attacks into docs/SECURITY.md")

// The table in the document stands between these lines.
const (
	document   = "../../docs/SECURITY.md"
	tableBegin = "<!-- attacks: go test ./e2e/cell -run TestDocs -update writes this table -->\n"
	tableEnd   = "<!-- end of attacks -->\n"
)

// The document says what the tests look for.
func TestDocs(t *testing.T) {
	raw, err := os.ReadFile(document)
	testkit.Must(t, err)
	before, rest, ok := strings.Cut(string(raw), tableBegin)
	now, after, end := strings.Cut(rest, tableEnd)
	if !ok || !end {
		t.Fatalf("%s has no place for the table: it must have the lines %q and %q", document, tableBegin, tableEnd)
	}
	if *update {
		testkit.Must(t, os.WriteFile(document, []byte(before+tableBegin+markdown()+tableEnd+after), 0o644))
		return
	}
	if now != markdown() {
		t.Errorf("the table of attacks in %s is another; go test ./e2e/cell -run TestDocs -update writes it.\nIt is:\n%s\nIt must be:\n%s", document, now, markdown())
	}
}

// Each attack is in the table once, with words for it.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range attacks {
		if seen[r.name] || r.try == "" || r.plain == "" || r.layer == "" {
			t.Errorf("row %+v", r)
		}
		seen[r.name] = true
	}
	for _, name := range attack.Names(true) {
		if !seen[name] {
			t.Errorf("the attack %s is not in the table", name)
		}
		delete(seen, name)
	}
	for name := range seen {
		t.Errorf("there is no attack %s", name)
	}
}

// Each defence that the table switches off is one that something reads: another name would
// switch nothing off, and the attack would show nothing.
func TestSwitches(t *testing.T) {
	real := map[string]bool{}
	for name := range switches {
		real[name] = true
	}
	reads := regexp.MustCompile(`(?:Without|yesUnless)\("([^"]+)"\)|\{"([a-z]+)", syscall\.CLONE_NEW`)
	testkit.Must(t, filepath.WalkDir("../../seat", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range reads.FindAllStringSubmatch(string(text), -1) {
			real[m[1]+m[2]] = true
		}
		return err
	}))
	for _, r := range attacks {
		for name := range strings.SplitSeq(r.without, ",") {
			if !real[name] {
				t.Errorf("%s without %q: nothing reads this name", r.name, name)
			}
		}
	}
}

// markdown is the table of the document.
func markdown() string {
	var b strings.Builder
	b.WriteString("| attack | an app tries to | not isolated | in a cell | what refuses it in a cell |\n|---|---|---|---|---|\n")
	for _, r := range attacks {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", r.name, r.try, word(r.plain), word(no), r.layer)
	}
	return b.String()
}

func word(o attack.Outcome) string {
	switch o {
	case yes:
		return "**succeeds**"
	case none:
		return "nothing to gain"
	}
	return string(o)
}
