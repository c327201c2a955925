package platform_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPublisher tries with a publisher's token what it must not reach. Beside each
// attempt stands a control: the same request with all rights, or the same job where
// the defence is off. So a refusal comes from the defence, and not from a mistake in
// the attempt.
func TestPublisher(t *testing.T) {
	n := newPlatform(t)
	n.sub("what a publisher may", n.publishes)
	n.sub("the platform's jobs", n.platform)
	n.sub("jobs that Nomad refuses", n.refusedJobs)
	n.sub("other pools and nodes", n.pools)
	n.sub("names of the platform", n.names)
	n.sub("services in Consul", n.services)
	n.sub("what the agent reads for a job", n.agentReads)
	n.sub("without the namespace's capabilities", n.withoutCapabilities)
}

// app is a job in the apps' namespace whose one task is a seat.
func app(id string, more map[string]any) map[string]any {
	job := map[string]any{
		"ID": id, "Name": id, "Namespace": "apps", "Type": "batch", "Datacenters": []string{"*"}, "NodePool": "stream-cpu",
		"TaskGroups": []any{map[string]any{
			"Name": "seat", "RestartPolicy": map[string]any{"Attempts": 0, "Mode": "fail"}, "ReschedulePolicy": map[string]any{"Attempts": 0, "Unlimited": false},
			"Tasks": []any{map[string]any{
				"Name": "app", "Driver": "stream",
				// It shows no window. That does not matter for as long as a test looks.
				"Config":    map[string]any{"command": "/bin/sh", "args": []string{"-c", "env; cat local/* 2>/dev/null; exec sleep 3600"}, "audio": false, "start_timeout": "1h"},
				"Resources": map[string]any{"CPU": 100, "MemoryMB": 128},
			}},
		}},
	}
	maps.Copy(job, more)
	return job
}

func group(job map[string]any) map[string]any { return job["TaskGroups"].([]any)[0].(map[string]any) }
func task(job map[string]any) map[string]any {
	return group(job)["Tasks"].([]any)[0].(map[string]any)
}

// register runs a job. The job's own namespace counts.
func (n *nodes) register(token string, job map[string]any) (int, string) {
	n.t.Helper()
	return n.ask(token, "PUT", "/v1/jobs", map[string]any{"Job": job})
}

// run is register for what must work.
func (n *nodes) run(token string, job map[string]any) {
	n.t.Helper()
	if status, text := n.register(token, job); status != http.StatusOK {
		n.t.Fatalf("run %s: %d: %s", job["ID"], status, text)
	}
}

// end stops a job and forgets it.
func (n *nodes) end(namespace, job string) {
	n.t.Helper()
	n.must("DELETE", "/v1/job/"+job+"?purge=true&namespace="+namespace, nil, nil)
}

func (n *nodes) publishes(t *testing.T) {
	run := func(args ...string) string { t.Helper(); return n.command(n.publisher, args...) }
	variables := []string{"-var=testapp=/bin/true", "-var=warm=1", "../testapp.nomad.hcl"}
	if out, err := n.try(n.publisher, append([]string{"job", "plan"}, variables...)...); !strings.Contains(out, "+ Job: \"testapp\"") {
		t.Errorf("plan: %v: %s", err, out)
	}
	run(append([]string{"job", "validate"}, variables...)...)
	run(append([]string{"job", "run"}, variables...)...)
	// The brain sees it and dispatches a seat.
	n.until("a seat was dispatched", func() error {
		var jobs []struct{ ID string }
		if status, text := n.ask(n.publisher, "GET", "/v1/jobs?namespace=apps&prefix=testapp/dispatch-", nil); status != http.StatusOK {
			return fmt.Errorf("%d: %s", status, text)
		} else if err := json.Unmarshal([]byte(text), &jobs); err != nil || len(jobs) == 0 {
			return fmt.Errorf("jobs: %s", text)
		}
		return nil
	})
	run("job", "run", "-var=testapp=/bin/false", "../testapp.nomad.hcl")
	if out := run("job", "history", "-namespace=apps", "testapp"); !strings.Contains(out, "Version     = 1") {
		t.Errorf("history: %s", out)
	}
	run("job", "revert", "-namespace=apps", "testapp", "0")
	n.run(n.publisher, app("mine", nil))
	seat := n.says("apps", "mine", "app running")
	n.until("the publisher reads the log", func() error {
		out, err := n.try(n.publisher, "alloc", "logs", "-namespace=apps", seat.ID)
		if err == nil && !strings.Contains(out, "NOMAD_JOB_ID=mine") {
			err = fmt.Errorf("log: %s", out)
		}
		return err
	})
	run("alloc", "stop", "-namespace=apps", "-detach", seat.ID)
	run("job", "stop", "-namespace=apps", "-detach", "mine")
	run("job", "stop", "-namespace=apps", "-detach", "testapp")
}

// attempt is a request that a publisher makes in vain.
type attempt struct {
	what, method, path string
	body               any
	// leak is in the answer to a request with all rights. Where it is set, the
	// publisher may get an answer without it, as where Nomad filters lists.
	leak string
}

// denied reports whether Nomad refused: not every refusal has the status 403.
func denied(text string) bool {
	return strings.Contains(text, "Permission denied") || strings.Contains(text, "Unknown allocation")
}

// ofNode is Nomad's word for a network or a volume of the node.
const ofNode = "host"

// createVolume is where a volume is made that is a folder of a node.
const createVolume = "/v1/volume/" + ofNode + "/create"

// refused tries all with the publisher's token, and then all in the same order with all
// rights.
func (n *nodes) refused(attempts []attempt) {
	n.t.Helper()
	for _, token := range []string{n.publisher, n.management} {
		for _, a := range attempts {
			status, text := n.ask(token, a.method, a.path, a.body)
			switch {
			case token == n.management && (status != http.StatusOK || !strings.Contains(text, a.leak)):
				n.t.Errorf("control: %s: with all rights: %d: %.300s", a.what, status, text)
			case token == n.publisher && !denied(text) && (a.leak == "" || strings.Contains(text, a.leak)):
				n.t.Errorf("%s: %d: %.300s", a.what, status, text)
			}
		}
	}
}

func (n *nodes) platform(t *testing.T) {
	router, err := n.newest("default", "router")
	if err != nil {
		t.Fatal(err)
	}
	var job map[string]any
	n.must("GET", "/v1/job/router", nil, &job)
	var nodes []struct{ ID, NodePool string }
	n.must("GET", "/v1/nodes", nil, &nodes)
	var services []struct{ ID string }
	n.must("GET", "/v1/service/router", nil, &services)
	if len(services) != 1 {
		t.Fatalf("services: %v", services)
	}
	node := nodes[slices.IndexFunc(nodes, func(n struct{ ID, NodePool string }) bool { return n.NodePool == "edge" })].ID
	var deployments []struct{ ID string }
	n.must("GET", "/v1/job/router/deployments", nil, &deployments)
	var variable map[string]any
	n.must("GET", "/v1/var/nomad/jobs/router", nil, &variable)

	var attempts []attempt
	for _, name := range []string{"router", "brain", "turn", "autoscaler"} {
		attempts = append(attempts,
			attempt{what: "read the job " + name, method: "GET", path: "/v1/job/" + name},
			attempt{what: "read the versions of " + name, method: "GET", path: "/v1/job/" + name + "/versions"},
			attempt{what: "read the source of " + name, method: "GET", path: "/v1/job/" + name + "/submission?version=0"},
			attempt{what: "read the evaluations of " + name, method: "GET", path: "/v1/job/" + name + "/evaluations"},
			attempt{what: "find " + name + " in the list of all jobs", method: "GET", path: "/v1/jobs?namespace=*", leak: `"ID":"` + name + `"`},
			// Not by its prefix: in all namespaces at once, that tells every token the IDs
			// of jobs and allocations (acl/README.md).
			attempt{what: "find " + name + " by search", method: "PUT", path: "/v1/search?namespace=default", body: map[string]any{"Prefix": name, "Context": "jobs", "Namespace": "default"}},
			attempt{what: "find " + name + " by fuzzy search", method: "PUT", path: "/v1/search/fuzzy?namespace=*", body: map[string]any{"Text": name, "Context": "jobs", "Namespace": "*"}, leak: `"` + name + `"`},
			attempt{what: "plan a change of " + name, method: "PUT", path: "/v1/job/" + name + "/plan", body: map[string]any{"Job": app(name, map[string]any{"Namespace": "default"})}},
		)
	}
	for _, name := range []string{"router", "brain", "turn"} {
		path := "nomad/jobs/" + name
		attempts = append(attempts,
			attempt{what: "read the variable " + path, method: "GET", path: "/v1/var/" + path},
			attempt{what: "read the variable " + path + " of all namespaces", method: "GET", path: "/v1/vars?namespace=*&prefix=nomad", leak: path},
		)
	}
	attempts = append(attempts, []attempt{
		{what: "list the variables", method: "GET", path: "/v1/vars?namespace=default", leak: "nomad/jobs/router"},
		{what: "write a variable of the router", method: "PUT", path: "/v1/var/nomad/jobs/router", body: variable},
		{what: "write a variable that every job reads", method: "PUT", path: "/v1/var/nomad/jobs", body: map[string]any{"Path": "nomad/jobs", "Items": map[string]string{"a": "b"}}},
		{what: "write a variable of an app", method: "PUT", path: "/v1/var/nomad/jobs/app?namespace=apps", body: map[string]any{"Namespace": "apps", "Path": "nomad/jobs/app", "Items": map[string]string{"a": "b"}}},

		{what: "list the allocations of all namespaces", method: "GET", path: "/v1/allocations?namespace=*", leak: router.ID},
		{what: "read an allocation", method: "GET", path: "/v1/allocation/" + router.ID},
		{what: "read an allocation as one of apps", method: "GET", path: "/v1/allocation/" + router.ID + "?namespace=apps"},
		{what: "list an allocation's files", method: "GET", path: "/v1/client/fs/ls/" + router.ID + "?path=/"},
		{what: "list an allocation's files as one of apps", method: "GET", path: "/v1/client/fs/ls/" + router.ID + "?path=/&namespace=apps"},
		{what: "read the router's log", method: "GET", path: "/v1/client/fs/logs/" + router.ID + "?task=router&type=stderr&plain=true&namespace=apps"},
		{what: "read an allocation's statistics", method: "GET", path: "/v1/client/allocation/" + router.ID + "/stats?namespace=apps"},
		{what: "list the evaluations of all namespaces", method: "GET", path: "/v1/evaluations?namespace=*", leak: `"JobID":"router"`},
		{what: "list the deployments of all namespaces", method: "GET", path: "/v1/deployments?namespace=*", leak: `"JobID":"router"`},
		{what: "list the services of all namespaces", method: "GET", path: "/v1/services?namespace=*", leak: `"router"`},
		{what: "read a service", method: "GET", path: "/v1/service/router"},

		{what: "list the nodes", method: "GET", path: "/v1/nodes"},
		{what: "read a node", method: "GET", path: "/v1/node/" + node},
		{what: "list a node's allocations", method: "GET", path: "/v1/node/" + node + "/allocations", leak: router.ID},
		{what: "end a node's drain", method: "PUT", path: "/v1/node/" + node + "/drain", body: map[string]any{"MarkEligible": true}},
		{what: "list the pools", method: "GET", path: "/v1/node/pools", leak: `"edge"`},
		{what: "change a pool", method: "PUT", path: "/v1/node/pool/stream-gpu", body: map[string]any{"Name": "stream-gpu"}},
		{what: "list a pool's nodes", method: "GET", path: "/v1/node/pool/edge/nodes", leak: node},
		{what: "list a pool's jobs", method: "GET", path: "/v1/node/pool/edge/jobs?namespace=*", leak: `"router"`},

		{what: "take a snapshot of all state", method: "GET", path: "/v1/operator/snapshot"},
		{what: "read how Nomad schedules", method: "GET", path: "/v1/operator/scheduler/configuration"},
		{what: "list the keys that sign identities", method: "GET", path: "/v1/operator/keyring/keys"},
		{what: "read the agent's configuration", method: "GET", path: "/v1/agent/self"},
		{what: "list the servers", method: "GET", path: "/v1/agent/members"},
		{what: "collect garbage", method: "PUT", path: "/v1/system/gc"},
		{what: "list the policies", method: "GET", path: "/v1/acl/policies", leak: "nearcast-brain"},
		{what: "read a policy", method: "GET", path: "/v1/acl/policy/nearcast-brain"},
		{what: "make a policy", method: "PUT", path: "/v1/acl/policy/mine", body: map[string]any{"Name": "mine", "Rules": `namespace "*" { policy = "write" }`}},
		{what: "make a token", method: "PUT", path: "/v1/acl/token", body: map[string]any{"Name": "mine", "Type": "management"}},
		{what: "list the tokens", method: "GET", path: "/v1/acl/tokens"},
		{what: "list the namespaces", method: "GET", path: "/v1/namespaces", leak: `"Name":"default"`},
		{what: "make a namespace", method: "PUT", path: "/v1/namespace/mine", body: map[string]any{"Name": "mine"}},
		{what: "remove a namespace", method: "DELETE", path: "/v1/namespace/mine"},
		{what: "make a volume of a node's folder", method: "PUT", path: createVolume, body: map[string]any{"Volume": map[string]any{
			"Namespace": "apps", "Name": "v", "NodeID": node, "PluginID": "mkdir", "RequestedCapabilities": []any{map[string]any{"AccessMode": "single-node-writer", "AttachmentMode": "file-system"}}}}},

		{what: "signal the router", method: "PUT", path: "/v1/client/allocation/" + router.ID + "/signal?namespace=apps", body: map[string]any{"Signal": "SIGCONT"}},
		{what: "scale the router", method: "PUT", path: "/v1/job/router/scale", body: map[string]any{"Count": 1, "Target": map[string]string{"Group": "router"}}},
		{what: "register the router's job", method: "PUT", path: "/v1/jobs", body: map[string]any{"Job": job}},
		{what: "register the router's job by its name", method: "PUT", path: "/v1/job/router", body: map[string]any{"Job": job}},
		{what: "register in default by the address of the request", method: "PUT", path: "/v1/jobs?namespace=default", body: map[string]any{"Job": app("a", nil)}},
		{what: "register in all namespaces", method: "PUT", path: "/v1/jobs", body: map[string]any{"Job": app("b", map[string]any{"Namespace": "default"})}},
		{what: "evaluate the router", method: "PUT", path: "/v1/job/router/evaluate", body: map[string]any{"JobID": "router"}},
		{what: "mark a version of the router", method: "PUT", path: "/v1/job/router/stable", body: map[string]any{"JobID": "router", "JobVersion": 0, "Stable": true}},
		{what: "name a version of the router", method: "PUT", path: "/v1/job/router/versions/t/tag", body: map[string]any{"Version": 0}},
		{what: "restart the router", method: "PUT", path: "/v1/client/allocation/" + router.ID + "/restart", body: map[string]any{}},
		{what: "take the router's service away", method: "DELETE", path: "/v1/service/router/" + services[0].ID},
		{what: "stop an allocation of the router", method: "PUT", path: "/v1/allocation/" + router.ID + "/stop?namespace=apps", body: map[string]any{}},
	}...)
	n.refused(attempts)

	for _, query := range []string{"topic=Job&namespace=default", "topic=Job&namespace=*", "topic=Service&namespace=*", "topic=Allocation&namespace=*", "topic=Node&namespace=apps", "topic=*&namespace=apps"} {
		// A stream begins with a heartbeat. One that is refused is empty, for as long as
		// it is open.
		path := "/v1/event/stream?index=1&" + query
		if line := n.firstLine(n.management, path, time.Minute); line == "" {
			t.Errorf("control: events of %s: nothing", query)
		}
		if line := n.firstLine(n.publisher, path, time.Second); line != "" {
			t.Errorf("events of %s: %.300s", query, line)
		}
	}
	if line := n.firstLine(n.publisher, "/v1/event/stream?index=1&topic=Job&namespace=apps", time.Minute); line == "" {
		t.Error("control: events of apps: nothing")
	}

	// What a shell does needs a WebSocket.
	if _, err := n.try(n.publisher, "alloc", "exec", "-namespace=default", "-task=brain", n.allocOf("brain"), "/bin/true"); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("a command in the brain's task: %v", err)
	}
	if _, err := n.try(n.management, "alloc", "exec", "-namespace=default", "-task=brain", n.allocOf("brain"), "/bin/true"); err != nil {
		t.Errorf("control: a command in the brain's task: %v", err)
	}
	n.refused([]attempt{
		{what: "stop TURN", method: "DELETE", path: "/v1/job/turn"},
		{what: "stop the autoscaler", method: "DELETE", path: "/v1/job/autoscaler"},
	})
	// The controls did this.
	n.until("the router runs again", func() error {
		var list []struct{ Status string }
		if err := n.get("/v1/job/router/deployments", &list); err != nil {
			return err
		}
		a, err := n.newest("default", "router")
		if err == nil && (a.ClientStatus != "running" || a.DesiredStatus != "run" || slices.ContainsFunc(list, func(d struct{ Status string }) bool { return d.Status == "running" })) {
			err = fmt.Errorf("%s, deployments %v", a.said(), list)
		}
		return err
	})
}

func (n *nodes) allocOf(job string) string {
	n.t.Helper()
	a, err := n.newest("default", job)
	if err != nil {
		n.t.Fatal(err)
	}
	return a.ID
}
