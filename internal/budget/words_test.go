package budget

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// retired are words that the glossary of docs/ARCHITECTURE.md has replaced, and
// phrases that a reader stumbled over.
var retired = []struct {
	word    string   // regular expression, in any case
	instead string   // what to write
	in      []string // places; empty is everywhere
	but     string   // regular expression of what is right and looks like the word
}{
	{word: `\b(she|her|hers|herself|whoever)\b`, instead: `"the person", "they"`},
	{word: `trying on\b`, instead: `"retrying"`},
	{word: `\bis too much\b|\bare too much\b`, instead: `"unexpected argument"`},
	{word: `\bvalues? cannot be"`, instead: `"is not allowed", "must be one of"`},
	{word: `\bin line\b`, instead: `"in the queue"`},
	{word: `\bhost-died\b|\bhost\.log\b|\bHost(Status|Event|Probe)\b`, instead: "the name of internal/wire/streamhost.go", but: `stream-host(-died|\.log)|StreamHost(Status|Event)`},
	{word: `stream-host probe`, instead: `"stream-host fingerprint"`},
	{word: `\bdriver/host\b|\bfleettest\b|\bdisplaytest\b|\bclustertest\b|\bdev/(browser|wan|netns)\b|\bcmd/nomad-driver-stream\b|\bprovision/acl/`, instead: "where it is now, in docs/ARCHITECTURE.md"},
	{word: `\batlas\b`, instead: `"coordinate map"`, but: `RIPE Atlas`},
	{word: `\bwhereabouts\b|\bbirths?\b`, instead: "a word of the glossary"},
	{
		word: `\bhosts?\b`, instead: `"node" for a machine, "stream host" for the process of a seat`,
		in: []string{"acl", "jobs", "provision", "terraform", "docs", "README.md", "CONTRIBUTING.md", "Vagrantfile"},
		// A host's other meanings: of an address, a URL, a request, a Unix file, VirtualBox
		// and QEMU, network = "host", and secrets that earlier releases made.
		but: `stream[- ]hosts?|host:(port|\d)|host name|ICE host|host candidates?|://host\b|\.Host\b|/etc/hosts|host-only|host-passthrough|["\x60]host["\x60]|host-key|nomad-host\.`,
	},
}

// wordsIn are the kinds of files that people read.
var wordsIn = []string{
	".go", ".js", ".mjs", ".css", ".html", ".md", ".hcl", ".tf", ".tftpl", ".tmpl", ".sh", ".yaml",
	".service", ".timer", ".env", "Makefile", "Vagrantfile",
}

// TestRetiredWords reads code, documents and job files.
func TestRetiredWords(t *testing.T) {
	root := filepath.Join("..", "..")
	type check struct{ word, but *regexp.Regexp }
	checks := make([]check, len(retired))
	for i, r := range retired {
		checks[i].word = regexp.MustCompile(`(?i)` + r.word)
		if r.but != "" {
			checks[i].but = regexp.MustCompile(`(?i)` + r.but)
		}
	}
	read := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(path, root+string(filepath.Separator)))
		switch {
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"testdata", "node_modules", "bin", "dist"}, d.Name())):
			return filepath.SkipDir
		case d.IsDir() || rel == "CHANGELOG.md" || rel == "internal/budget/words_test.go":
			return nil // these name what there was
		case !slices.ContainsFunc(wordsIn, func(end string) bool { return strings.HasSuffix(rel, end) }):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		read++
		for n, line := range strings.Split(string(text), "\n") {
			for i, r := range retired {
				if len(r.in) > 0 && !anyBelow(rel, r.in) {
					continue
				}
				seen := line
				if checks[i].but != nil {
					seen = checks[i].but.ReplaceAllString(seen, "")
				}
				if found := checks[i].word.FindString(seen); found != "" {
					t.Errorf("%s:%d says %q: write %s\n\t%s", rel, n+1, found, r.instead, strings.TrimSpace(line))
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if read < 300 {
		t.Fatalf("only %d files were read: this test looks in the wrong place", read)
	}
}
