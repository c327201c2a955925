// Package day2 tests docs/DEPLOY.md and docs/RECOVER.md: it cuts out the blocks with the mark "run", and runs
// them unchanged on a real site.
//
//	go test ./provision/day2      # as root
package day2

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/provision/nodetest"
)

// TestDocument checks the document without a site: every block says which test runs it or
// why none does, the tests have all names, and a shell can parse all blocks.
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
	for _, b := range nodetest.Document(t) {
		text, tested := steps[b.Mark]
		switch {
		case b.Mark == "not run" && b.Name == "":
			t.Errorf("a block does not say why it is not run:\n%s", b.Text)
		case tested && (slices.Contains(names, b.Name) || !strings.Contains(text, `"`+b.Name+`"`)):
			t.Errorf("no test runs %q, or the document has it twice", b.Name)
		}
		names = append(names, b.Name)
		if out, err := exec.CommandContext(t.Context(), "bash", "-n", "-c", b.Text).CombinedOutput(); err != nil {
			t.Errorf("bash cannot parse this: %s\n%s", out, b.Text)
		}
	}
}

// nearcast matches calls of the program in the document's blocks.
var nearcast = regexp.MustCompile(`(?m)(?:^|&& |\$\()nearcast ([a-z-]+(?: [a-z]+)?)`)

// TestHelp: each command of nearcast that the document uses has help.
func TestHelp(t *testing.T) {
	bin := build(t, "nearcast")
	calls := map[string]bool{"provision secrets": true, "provision configure": true}
	for _, b := range nodetest.Document(t) {
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

// TestFetchBackup runs the block of RECOVER.md that fetches the latest backup, with a stand-in for aws: where there
// is none, and where the outputs are of an earlier release, it says so.
func TestFetchBackup(t *testing.T) {
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip("the Debian package jq is missing")
	}
	var text string
	for _, b := range nodetest.Document(t) {
		if strings.Contains(b.Text, `"$program.snap"`) {
			text += b.Text
		}
	}
	aws := filepath.Join(t.TempDir(), "aws")
	testkit.Must(t, os.WriteFile(aws, []byte(`#!/bin/sh
case "$*" in
"s3 ls --region eu-west-1 s3://backups-eu/backups/"*) printf '%s\n' "2026-01-01 10:00:00 9 ${5##*/}1.snap" "2026-01-01 11:00:00 9 ${5##*/}2.snap" ;;
"s3 cp --region eu-west-1 s3://backups-eu/backups/"*) echo "${5##*/}" >"$6" ;;
*) exit 1 ;;
esac
`), 0o755))
	for outputs, says := range map[string]string{
		`{"bucket": "backups-eu", "region": "eu-west-1"}`: "",
		`{"bucket": "empty", "region": "eu-west-1"}`:      "no backup of nomad at s3://empty/backups: write outputs.json with this release, or look in the system bucket",
		`null`: "no backup of consul at s3:///backups: write outputs.json with this release, or look in the system bucket",
	} {
		dir := t.TempDir()
		testkit.Must(t, os.WriteFile(filepath.Join(dir, "outputs.json"), []byte(`{"sites": {"value": {"eu-central-1": {"backups": `+outputs+`}}}}`), 0o644))
		cmd := exec.CommandContext(t.Context(), "bash", "-c", text)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "site=eu-central-1", "PATH="+filepath.Dir(aws)+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), says) || says == "" && len(out) > 0 {
			t.Errorf("%s: %v: %s", outputs, err, out)
		}
		for _, program := range []string{"consul", "nomad"} {
			got, _ := os.ReadFile(filepath.Join(dir, program+".snap"))
			if want := program + "-2.snap\n"; says == "" && string(got) != want || says != "" && len(got) > 0 {
				t.Errorf("%s: %s.snap is %q", outputs, program, got)
			}
		}
	}
}
