package budget

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// retired are words that the glossary of docs/ARCHITECTURE.md has replaced, and
// phrases that readers did not understand at once.
var retired = []struct {
	words   []string       // whole words, in any case
	phrases []string       // anywhere in a line, in any case
	instead string         // what to write
	in      []string       // places; empty is everywhere
	but     *regexp.Regexp // what is right and looks like the word
}{
	{words: []string{"she", "her", "hers", "herself", "whoever"}, instead: `"the person", "they"`},
	{phrases: []string{"trying on"}, instead: `"retrying"`},
	{phrases: []string{"is too much", "are too much"}, instead: `"unexpected argument"`},
	{phrases: []string{`value cannot be"`, `values cannot be"`}, instead: `"is not allowed", "must be one of"`},
	{phrases: []string{" in line "}, instead: `"in the queue"`},
	{words: []string{"HostStatus", "HostEvent", "HostProbe"}, instead: "the name of internal/wire/streamhost.go"},
	{
		phrases: []string{"host-died", "host.log"}, instead: "stream-host-died, stream-host.log",
		but: regexp.MustCompile(`stream-host(-died|\.log)`),
	},
	{phrases: []string{"stream-host probe"}, instead: `"stream-host fingerprint"`},
	{
		phrases: []string{
			"driver/host/", "fleettest", "displaytest", "reachtest", "clustertest",
			"dev/browser", "dev/wan", "dev/netns", "cmd/nomad-driver-stream", "provision/acl/",
		},
		instead: "where it is now: docs/ARCHITECTURE.md",
	},
	{phrases: []string{"t.output(), nil)"}, instead: "testkit.Logger(t), which ends with the test: a late line is a data race"},
	{words: []string{"atlas"}, instead: `"coordinate map"`, but: regexp.MustCompile(`ripe atlas`)},
	{words: []string{"whereabouts", "birth", "births"}, instead: "a word of the glossary"},
	{
		words: []string{"host", "hosts"}, instead: `"node" for a machine, "stream host" for the process of a seat`,
		in: []string{"acl", "jobs", "provision", "terraform", "docs", "README.md", "CONTRIBUTING.md", "Vagrantfile"},
		// A host's other meanings: of an address, a URL, a request, a Unix file, VirtualBox
		// and QEMU, network = "host", a word of Nomad's messages and paths, and secrets that
		// earlier releases made.
		but: regexp.MustCompile(`stream[- ]hosts?|host:(port|\d)|host name|ice host|host candidates?|://host\b|\.host\b|/etc/hosts|` +
			"host-only|host-passthrough|/volume/host/|[\"`]host[\"`]|host-key|nomad-host\\."),
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
	rules := map[string][]int{} // by word
	for i, r := range retired {
		for _, word := range r.words {
			rules[strings.ToLower(word)] = append(rules[strings.ToLower(word)], i)
		}
	}
	// found gives the retired word or phrase of rule i in a line in small letters.
	found := func(i int, line string) string {
		r := retired[i]
		if r.but != nil {
			line = r.but.ReplaceAllString(line, "")
		}
		for _, phrase := range r.phrases {
			if strings.Contains(line, phrase) {
				return phrase
			}
		}
		for word := range strings.FieldsFuncSeq(line, notInWord) {
			if slices.Contains(rules[word], i) {
				return word
			}
		}
		return ""
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
		n := 0
		for line := range strings.Lines(strings.ToLower(string(text))) {
			n++
			var suspects []int
			for word := range strings.FieldsFuncSeq(line, notInWord) {
				suspects = append(suspects, rules[word]...)
			}
			for i, r := range retired {
				if slices.ContainsFunc(r.phrases, func(phrase string) bool { return strings.Contains(line, phrase) }) {
					suspects = append(suspects, i)
				}
			}
			for _, i := range suspects {
				r := retired[i]
				if len(r.in) > 0 && !anyBelow(rel, r.in) {
					continue
				}
				if what := found(i, line); what != "" {
					t.Errorf("%s:%d says %q: write %s\n\t%s", rel, n, what, r.instead, strings.TrimSpace(line))
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

func notInWord(r rune) bool {
	return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
}
