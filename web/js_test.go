package web_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestModules runs the tests of the pure modules, test/*.test.mjs, in Node.js.
// They learn the names that internal/wire has from its source, so that a new
// reason without words for it fails here.
func TestModules(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed: THE TESTS OF THE PLAYER'S MODULES DID NOT RUN")
	}
	tests, err := filepath.Glob("test/*.test.mjs")
	if err != nil || len(tests) == 0 {
		t.Fatalf("no tests in test/ (%v)", err)
	}
	names, err := json.Marshal(wireNames(t))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), node, append([]string{"--test", "--test-reporter=spec"}, tests...)...)
	cmd.Env = append(os.Environ(), "NEARCAST_WIRE="+string(names))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("node --test: %v\n%s", err, out)
	}
}

// wireNames reads the string constants of internal/wire, by the prefix of their
// Go names.
func wireNames(t *testing.T) map[string][]string {
	pkgs, err := filepath.Glob("../internal/wire/*.go")
	if err != nil || len(pkgs) == 0 {
		t.Fatalf("internal/wire is not where it was (%v)", err)
	}
	names := map[string][]string{}
	for _, file := range pkgs {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			lit, ok := spec.Values[0].(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			for _, prefix := range []string{"Reason", "Code", "Phase", "Msg", "Input", "Frame", "RTT"} {
				if strings.HasPrefix(spec.Names[0].Name, prefix) {
					value, err := strconv.Unquote(lit.Value)
					if err != nil {
						t.Fatal(err)
					}
					names[prefix] = append(names[prefix], value)
				}
			}
			return true
		})
	}
	for _, prefix := range []string{"Reason", "Code", "Phase", "Msg", "Input", "Frame", "RTT"} {
		if len(names[prefix]) < 3 {
			t.Fatalf("found only %v for %s in internal/wire", names[prefix], prefix)
		}
	}
	return names
}
