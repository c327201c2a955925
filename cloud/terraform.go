package cloud

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
)

// TerraformOutputs asks the program terraform for the outputs of a folder.
func TerraformOutputs(ctx context.Context, dir string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, "terraform", "-chdir="+dir, "output", "-json").Output()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		return nil, fmt.Errorf("terraform output -json in %s: %w: %s", dir, err, bytes.TrimSpace(failed.Stderr))
	}
	if err != nil {
		return nil, fmt.Errorf("run terraform in %s: %w; give what it prints by --outputs FILE", dir, err)
	}
	return out, nil
}

// TerraformPlan says in words what terraform apply would change in a folder.
func TerraformPlan(ctx context.Context, dir string) (words []string, err error) {
	cmd := exec.CommandContext(ctx, "terraform", "-chdir="+dir, "plan", "-json", "-input=false", "-lock=false")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err = cmd.Run()
	words, complaint := planWords(out.Bytes())
	if err != nil {
		return words, fmt.Errorf("terraform plan in %s: %w: %s%s", dir, err, complaint, bytes.TrimSpace(said.Bytes()))
	}
	return words, nil
}

// planWords reads the lines that terraform plan -json prints.
func planWords(out []byte) (words []string, complaint string) {
	by := map[string][]string{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var line struct {
			Type    string `json:"type"`
			Message string `json:"@message"`
			Level   string `json:"@level"`
			Change  struct {
				Action   string `json:"action"`
				Resource struct {
					Addr string `json:"addr"`
				} `json:"resource"`
			} `json:"change"`
		}
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			continue
		}
		switch {
		case line.Type == "planned_change":
			by[line.Change.Action] = append(by[line.Change.Action], line.Change.Resource.Addr)
		case line.Level == "error":
			complaint += line.Message + "; "
		}
	}
	for action, verb := range map[string]string{"create": "create", "update": "change", "replace": "REPLACE", "delete": "DELETE"} {
		if addresses := by[action]; len(addresses) > 0 {
			slices.Sort(addresses)
			const most = 8
			more := ""
			if len(addresses) > most {
				more = fmt.Sprintf(" and %d more", len(addresses)-most)
			}
			words = append(words, fmt.Sprintf("terraform would %s %d: %s%s", verb, len(addresses), strings.Join(addresses[:min(most, len(addresses))], ", "), more))
		}
	}
	slices.Sort(words)
	return words, complaint
}

// TerraformPrimary has Terraform make a site the primary one, and returns when Terraform has ended. The
// file stays: terraform.tfvars may name another one.
func TerraformPrimary(dir, site string, in io.Reader, out io.Writer) error {
	file := filepath.Join(dir, "primary.auto.tfvars")
	if err := renameio.WriteFile(file, fmt.Appendf(nil, "# Written by nearcast cloud promote.\nprimary_region = %q\n", site), 0o644); err != nil {
		return fmt.Errorf("write the primary site: %w", err)
	}
	// Not by a context, which kills: Terraform would leave half a state and its lock. Ctrl-C in a terminal reaches
	// it too, and it ends in order then; a second signal, from here, would end it at once.
	cmd := exec.Command("terraform", "-chdir="+dir, "apply")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("terraform apply in %s: %w. %s names the new primary site; remove it if you give up", dir, err, file)
	}
	return nil
}
