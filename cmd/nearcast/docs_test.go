package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// ours are the command lines of this program in fences of a document.
var ours = regexp.MustCompile(`(?m)^(?:[A-Z_]+=\S+ )*(?:bin/)?(nearcast [^|#\n]*)`)

// TestDocumentedCommands checks that each command in the documents exists, with the flags that they give.
func TestDocumentedCommands(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, file := range append(files, "../../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		fences := strings.Split(string(text), "```")
		for i := 1; i < len(fences); i += 2 {
			for _, found := range ours.FindAllStringSubmatch(fences[i], -1) {
				line := strings.TrimSuffix(strings.TrimSpace(found[1]), `\`)
				seen++
				cmd, rest, err := root().Find(strings.Fields(line)[1:])
				if err == nil {
					err = cmd.ParseFlags(rest)
				}
				if err != nil || !cmd.Runnable() {
					t.Errorf("%s: %q: %v (found %s)", filepath.Base(file), line, err, cmd.CommandPath())
				}
			}
		}
	}
	if seen < 15 {
		t.Errorf("only %d commands were found", seen)
	}
}

// TestReadmePage checks that the page in the README is the one that TestExamples opens in a browser.
func TestReadmePage(t *testing.T) {
	page, err := os.ReadFile("../../web/examples/page.html")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer("{{play}}", "http://127.0.0.1:7700", "{{app}}", "echo").Replace(string(page))
	if !strings.Contains(string(readme), "```html\n"+want+"```\n") {
		t.Errorf("the README has not this page:\n%s", want)
	}
}
