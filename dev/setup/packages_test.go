package setup

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestMissingPackages(t *testing.T) {
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		t.Skip("this machine has no dpkg")
	}
	missing, err := MissingPackages(t.Context(), []Package{
		{"dpkg", "is always there"},
		{"nearcast-no-such-package", "is never there"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(missing) != 1 || missing[0].Name != "nearcast-no-such-package" {
		t.Errorf("missing: %v", missing)
	}
}

// npm comes with NodeSource's nodejs, too, and Debian's package conflicts with that.
func TestProgramOfAnotherSource(t *testing.T) {
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		t.Skip("this machine has no dpkg")
	}
	programs["nearcast-no-such-package"] = "dpkg-query"
	defer delete(programs, "nearcast-no-such-package")
	missing, err := MissingPackages(t.Context(), []Package{{"nearcast-no-such-package", "its program is there"}})
	if err != nil || len(missing) > 0 {
		t.Errorf("missing: %v, %v", missing, err)
	}
	programs["nearcast-no-such-package"] = "nearcast-no-such-program"
	missing, err = MissingPackages(t.Context(), []Package{{"nearcast-no-such-package", "its program is not there"}})
	if err != nil || len(missing) != 1 {
		t.Errorf("missing: %v, %v", missing, err)
	}
}

func TestPackageLists(t *testing.T) {
	var names []string
	for _, p := range slices.Concat(RunPackages, TestPackages) {
		if p.Reason == "" || slices.Contains(names, p.Name) {
			t.Errorf("%s has no reason or is there twice", p.Name)
		}
		names = append(names, p.Name)
	}
	for _, p := range RunPackages {
		if strings.HasSuffix(p.Name, "plugins-bad") {
			t.Error("plugins-bad pulls a lot of packages in, and no seat needs it")
		}
	}
}
