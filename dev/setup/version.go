package setup

import (
	"context"
	"os/exec"
	"regexp"
	"time"
)

// versionText is a semantic version as servers print it.
var versionText = regexp.MustCompile(`\bv?(\d+\.\d+\.\d+[-+.\w]*)`)

// installed asks a program for its version, and returns it with "v"; empty where it
// does not say.
func (t tool) installed(ctx context.Context, path string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, t.version)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	m := versionText.FindSubmatch(out)
	if err != nil || m == nil {
		return ""
	}
	return "v" + string(m[1])
}
