package nomad

import (
	"log/slog"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/internal/testkit"
)

// A real Nomad with ACLs: the policy of the job prefetch is enough for a Follower, and is for no other variable.
func TestFollowerUnderItsPolicy(t *testing.T) {
	n := testkit.NewNomad(t)
	n.Start(`
acl {
  enabled = true
}
client {
  options = { "driver.allowlist" = "raw_exec" }
}
plugin "raw_exec" {
  config { enabled = true }
}
`)
	open := func(token string) Checks {
		c, err := OpenChecks(Config{Address: n.Address, Namespace: "apps", Token: token})
		testkit.Must(t, err)
		t.Cleanup(c.Close)
		c.driver = "raw_exec"
		return c
	}
	testkit.Retry(testkit.Context(t, time.Minute), t, "ACLs begin", func() error {
		token, _, err := open("").api.ACLTokens().Bootstrap(nil)
		if err == nil {
			n.Token = token.SecretID
		}
		return err
	})
	n.WaitReady("raw_exec")
	admin := open(n.Token)
	_, err := admin.api.Namespaces().Register(&api.Namespace{Name: "apps"}, nil)
	testkit.Must(t, err)
	rules, err := os.ReadFile("../../acl/nomad/prefetch.hcl")
	testkit.Must(t, err)
	_, err = admin.api.ACLPolicies().Upsert(&api.ACLPolicy{Name: "prefetch", Rules: string(rules)}, nil)
	testkit.Must(t, err)
	token, _, err := admin.api.ACLTokens().Create(&api.ACLToken{Type: "client", Policies: []string{"prefetch"}}, nil)
	testkit.Must(t, err)

	job, err := admin.api.Jobs().ParseHCL(jobHCL("viewer", "", "true", ""), true)
	testkit.Must(t, err)
	// The driver of this test has no content, so its fetch fails, and ends.
	job.TaskGroups[0].Tasks[0].Config["content"] = []any{map[string]any{"source": "s3://b/v1/"}}
	_, _, err = admin.api.Jobs().Register(job, nil)
	testkit.Must(t, err)

	checks := open(token.SecretID)
	f := NewFollower(checks, time.Hour, slog.New(slog.NewTextHandler(t.Output(), nil)))
	testkit.Within(t, 3*time.Minute, "all turns are over", func() bool {
		if _, err := f.Step(t.Context()); err != nil {
			t.Logf("a step: %v", err)
			return false
		}
		v, _, err := checks.api.Variables().Peek(recordPath, nil)
		return err == nil && v != nil && v.Items["viewer"] != ""
	})
	fetches := 0
	for turn := range waves {
		allocs, _, err := admin.api.Jobs().Allocations(turnJob("viewer", turn), false, nil)
		testkit.Must(t, err)
		fetches += len(allocs)
	}
	if fetches != 1 {
		t.Errorf("the node had %d tasks", fetches)
	}
	if _, _, err := checks.api.Variables().Update(&api.Variable{Path: "nomad/jobs/viewer", Items: api.VariableItems{"a": "b"}}, nil); status(err) != http.StatusForbidden {
		t.Errorf("it writes another variable: %v", err)
	}
	if _, _, err := checks.api.Jobs().Deregister("viewer", false, nil); status(err) != http.StatusForbidden {
		t.Errorf("it stops an app: %v", err)
	}
}
