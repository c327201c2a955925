package nomad

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// A real Nomad with ACLs: the policy of the job prefetch is enough for a Follower, and for no more.
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
	checks := open("")
	f := NewFollower(checks, time.Hour, testkit.Logger(t))
	for _, name := range []string{"apps", wire.FetchNamespace} {
		_, err := admin.api.Namespaces().Register(&api.Namespace{Name: name}, nil)
		testkit.Must(t, err)
	}
	rules, err := os.ReadFile("../../acl/nomad/prefetch.hcl")
	testkit.Must(t, err)
	_, err = admin.api.ACLPolicies().Upsert(&api.ACLPolicy{Name: "prefetch", Rules: string(rules)}, nil)
	testkit.Must(t, err)
	token, _, err := admin.api.ACLTokens().Create(&api.ACLToken{Type: "client", Policies: []string{"prefetch"}}, nil)
	testkit.Must(t, err)

	job, err := admin.api.Jobs().ParseHCL(jobHCL("viewer", "", "true", ""), true)
	testkit.Must(t, err)
	// The driver of this test has no content, so its fetch fails, and ends. Nobody is to fetch the other app.
	elsewhere, err := admin.api.Jobs().ParseHCL(jobHCL("elsewhere", "", "true", ""), true)
	testkit.Must(t, err)
	elsewhere.Constraints = append(elsewhere.Constraints, api.NewConstraint("${node.unique.id}", "=", "none"))
	for _, j := range []*api.Job{job, elsewhere} {
		j.TaskGroups[0].Tasks[0].Config["content"] = []any{map[string]any{"source": "s3://b/v1/"}}
		_, _, err = admin.api.Jobs().Register(j, nil)
		testkit.Must(t, err)
	}

	// At a site of the release before, it has no right yet.
	if _, err := f.Step(t.Context()); err == nil || !strings.Contains(err.Error(), `no rights in "fetches": run acl/apply.sh`) {
		t.Errorf("without its policy: %v", err)
	}
	checks.api.SetSecretID(token.SecretID)
	testkit.Within(t, 3*time.Minute, "all turns are over", func() bool {
		if _, err := f.Step(t.Context()); err != nil {
			t.Logf("a step: %v", err)
			return false
		}
		v, _, err := checks.api.Variables().Peek(recordPath, inFetches(t.Context()))
		_, _, last := admin.api.Jobs().Info(turnJob("viewer", 3), inFetches(t.Context()))
		if err != nil || v == nil || v.Items["elsewhere"] == "" || last != nil {
			return false
		}
		if v.Items["viewer"] != "" {
			t.Error("it is noted that the only node has fetched, and it has not")
		}
		return true
	})
	fetches := 0
	for turn := range waves {
		allocs, _, err := admin.api.Jobs().Allocations(turnJob("viewer", turn), false, inFetches(t.Context()))
		testkit.Must(t, err)
		fetches += len(allocs)
	}
	if fetches != 1 {
		t.Errorf("the node had %d tasks", fetches)
	}
	// What its policy refuses: what follows a change of an app, and what is of no use to it.
	fetch, err := checks.prefetchJob(job)
	testkit.Must(t, err)
	for what, err := range map[string]error{
		"writes another variable":   refusal(checks.api.Variables().Update(&api.Variable{Namespace: wire.FetchNamespace, Path: "nomad/jobs/viewer", Items: api.VariableItems{"a": "b"}}, toFetches(t.Context()))),
		"writes a variable of apps": refusal(checks.api.Variables().Update(&api.Variable{Path: recordPath, Items: api.VariableItems{"a": "b"}}, nil)),
		"changes an app":            refusal(checks.api.Jobs().Register(job, nil)),
		"registers in apps":         refusal(checks.api.Jobs().Register(fetch, nil)),
		"stops an app":              refusal(checks.api.Jobs().Deregister("viewer", false, nil)),
		"dispatches a seat":         refusal(checks.api.Jobs().Dispatch("viewer", nil, nil, "", nil)),
	} {
		if status(err) != http.StatusForbidden {
			t.Errorf("it %s: %v", what, err)
		}
	}
	if _, _, err := checks.api.Jobs().Deregister(turnJob("viewer", 0), false, toFetches(t.Context())); err != nil {
		t.Errorf("it cannot stop a turn: %v", err)
	}
}

func refusal[A, B any](_ A, _ B, err error) error { return err }
