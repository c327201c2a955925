package version

import (
	"runtime/debug"
	"testing"

	"golang.org/x/mod/semver"
)

func TestOfBuild(t *testing.T) {
	for built, want := range map[string]string{
		"v0.2.0": "v0.2.0",
		"v0.0.0-20261128052442-380104d3a1b2+dirty": "v0.0.0-20261128052442-380104d3a1b2+dirty",
		"(devel)": unknown,
		"":        unknown,
	} {
		info := &debug.BuildInfo{Main: debug.Module{Version: built}}
		if got := ofBuild(info); got != want || !semver.IsValid(got) {
			t.Errorf("ofBuild(%q) = %q, want %q, a semantic version", built, got, want)
		}
	}
	if got := String(); !semver.IsValid(got) {
		t.Errorf("String() = %q, no semantic version", got)
	}
}
