package cloud

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
)

// TestTerraformPrimary has a stand-in for Terraform, which asks and answers as it is told.
func TestTerraformPrimary(t *testing.T) {
	bin, dir := t.TempDir(), t.TempDir()
	program := filepath.Join(bin, "terraform")
	testkit.Must(t, os.WriteFile(program, []byte("#!/bin/sh\necho \"$@\" >"+dir+"/args\nread answer\necho \"it says $answer\"\n[ \"$answer\" = yes ]\n"), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))

	var said bytes.Buffer
	if err := TerraformPrimary(dir, "us-east-1", strings.NewReader("yes\n"), &said); err != nil || said.String() != "it says yes\n" {
		t.Errorf("%v, it says %q", err, said.String())
	}
	for name, want := range map[string]string{
		"args": "-chdir=" + dir + " apply\n", "primary.auto.tfvars": "# Written by nearcast cloud promote.\nprimary_region = \"us-east-1\"\n",
	} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != want {
			t.Errorf("%s has %q, %v; want %q", name, text, err, want)
		}
	}

	err := TerraformPrimary(dir, "eu-west-1", strings.NewReader("no\n"), &said)
	if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "primary.auto.tfvars")+" names the new primary site; remove it if you give up") {
		t.Errorf("after a refusal: %v", err)
	}
	if err := TerraformPrimary(filepath.Join(dir, "nowhere"), "eu-west-1", strings.NewReader("yes\n"), &said); err == nil || !strings.Contains(err.Error(), "write the primary site") {
		t.Errorf("without the folder: %v", err)
	}
}
