package brain_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestMeasured checks that make test runs, without the race detector, each test that starts
// a brain as a process: with it they skip, so one that the Makefile forgets would never run.
func TestMeasured(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile(`(?m)^MEASURED := (\S+)$`).FindSubmatch(makefile)
	if list == nil {
		t.Fatal("the Makefile has no MEASURED")
	}
	measured := regexp.MustCompile(strings.ReplaceAll(string(list[1]), "$$", "$"))
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			test, ok := d.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(test.Name.Name, "Test") {
				continue
			}
			ast.Inspect(test, func(n ast.Node) bool {
				if call, ok := n.(*ast.SelectorExpr); ok && call.Sel.Name == "process" {
					found++
					if !measured.MatchString(test.Name.Name) {
						t.Errorf("%s starts a process, and MEASURED of the Makefile lacks it", test.Name.Name)
					}
				}
				return true
			})
		}
	}
	if found == 0 {
		t.Error("no test starts a process")
	}
}
