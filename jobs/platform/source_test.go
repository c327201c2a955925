package platform_test

import (
	"strings"
	"testing"

	"github.com/nearcast/nearcast/jobs/platform"
)

// TestSource: what a program sends to Nomad reads no file, and has the texts as they are.
func TestSource(t *testing.T) {
	for _, name := range []string{"router", "brain", "turn", "autoscaler", "console", "observability", "prefetch"} {
		source := platform.Source(name)
		if source == "" || strings.Contains(source, "file(") {
			t.Errorf("the job %s is missing, or reads files", name)
		}
	}
	for _, part := range []string{"runbook_url", "scrape_configs", `\"panels\"`} {
		if !strings.Contains(platform.Source("observability"), part) {
			t.Errorf("observability has no %s", part)
		}
	}
}
