package platform_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/wire"
)

// refusedJobs: Nomad registers none of these.
func (n *nodes) refusedJobs(t *testing.T) {
	driver := func(name string) func(job map[string]any) {
		return func(job map[string]any) {
			task(job)["Driver"], task(job)["Config"] = name, map[string]any{"command": "/bin/true", "image": "x", "jar_path": "x", "image_path": "x"}
		}
	}
	network := func(mode string) func(job map[string]any) {
		return func(job map[string]any) {
			group(job)["Networks"] = []any{map[string]any{"Mode": mode, "ReservedPorts": []any{map[string]any{"Label": "nomad", "Value": 4646}}}}
		}
	}
	for name, c := range map[string]struct {
		change func(job map[string]any)
		want   string
		// The job has the defect wherever it is; elsewhere all rights are enough.
		namespace string
	}{
		"raw_exec": {driver("raw_exec"), `"raw_exec" is not allowed in namespace`, "default"},
		"exec":     {driver("exec"), `"exec" is not allowed in namespace`, "default"},
		"docker":   {driver("docker"), `"docker" is not allowed in namespace`, "default"},
		"java":     {driver("java"), `"java" is not allowed in namespace`, "default"},
		"qemu":     {driver("qemu"), `"qemu" is not allowed in namespace`, "default"},
		"sidecar": {func(job map[string]any) {
			group(job)["Tasks"] = append(group(job)["Tasks"].([]any), map[string]any{"Name": "side", "Driver": "raw_exec", "Config": map[string]any{"command": "/bin/true"},
				"Lifecycle": map[string]any{"Hook": "prestart", "Sidecar": true}, "Resources": map[string]any{"CPU": 100, "MemoryMB": 64}})
		}, `"raw_exec" is not allowed in namespace`, "default"},
		"connect": {func(job map[string]any) {
			network("bridge")(job)
			group(job)["Services"] = []any{map[string]any{"Name": "nearcast-brain", "PortLabel": "9000", "Provider": "consul", "Connect": map[string]any{"SidecarService": map[string]any{}}}}
		}, `is not allowed in namespace`, "default"},
		"node's network": {network(ofNode), `"` + ofNode + `" is not allowed in namespace`, "default"},
		"bridge network": {network("bridge"), `"bridge" is not allowed in namespace`, "default"},
		"cni network":    {network("cni/any"), `"cni/any" is not allowed in namespace`, "default"},
		"node's volume": {func(job map[string]any) {
			group(job)["Volumes"] = map[string]any{"v": map[string]any{"Name": "v", "Type": ofNode, "Source": "etc", "ReadOnly": true}}
		}, "Permission denied", "apps"},
		"csi volume": {func(job map[string]any) {
			group(job)["Volumes"] = map[string]any{"v": map[string]any{"Name": "v", "Type": "csi", "Source": "v", "AccessMode": "single-node-writer", "AttachmentMode": "file-system"}}
		}, "Permission denied", "apps"},
		"csi plugin": {func(job map[string]any) {
			task(job)["CSIPluginConfig"] = map[string]any{"ID": "p", "Type": "node", "MountDir": "/csi"}
		}, "Permission denied", "apps"},
		"no such pool": {func(job map[string]any) { job["NodePool"] = "mine" }, "nonexistent node pool", ""},
		"payload outside": {func(job map[string]any) {
			job["ParameterizedJob"] = map[string]any{"Payload": "optional"}
			task(job)["DispatchPayload"] = map[string]any{"File": "../../../../etc/cron.d/x"}
		}, "escapes", ""},
		"template of a file of the node": {func(job map[string]any) {
			task(job)["Templates"] = []any{map[string]any{"SourcePath": "/etc/shadow", "DestPath": "../../../etc/x"}}
		}, "escapes", ""},
		"artifact to a file of the node": {func(job map[string]any) {
			task(job)["Artifacts"] = []any{map[string]any{"GetterSource": "https://example.com", "RelativeDest": "../../../../etc/x"}}
		}, "escapes", ""},
	} {
		job := app("refused", nil)
		c.change(job)
		if status, text := n.register(n.publisher, job); status == http.StatusOK || !strings.Contains(text, c.want) {
			t.Errorf("%s: %d: %s, want %q", name, status, text, c.want)
		}
		if c.namespace == "" {
			continue
		}
		job["Namespace"], job["NodePool"] = c.namespace, "stream-gpu" // where it waits for a node
		if status, text := n.register(n.management, job); status != http.StatusOK {
			t.Errorf("control: %s, with all rights in %s: %d: %s", name, c.namespace, status, text)
			continue
		}
		n.end(c.namespace, "refused")
	}
}

// pools: Nomad without a licence lets a job name any pool. There, no node has the driver
// that the namespace allows; and stream nodes have no other.
func (n *nodes) pools(t *testing.T) {
	before, err := n.newest("default", "router")
	if err != nil {
		t.Fatal(err)
	}
	filtered := func(namespace, id string) {
		t.Helper()
		n.until("no node takes "+id, func() error {
			var evals []struct {
				FailedTGAllocs map[string]struct{ ConstraintFiltered map[string]int }
			}
			if err := n.get("/v1/job/"+id+"/evaluations?namespace="+namespace, &evals); err != nil {
				return err
			}
			for _, e := range evals {
				if e.FailedTGAllocs["seat"].ConstraintFiltered["missing drivers"] > 0 {
					return nil
				}
			}
			return fmt.Errorf("evaluations: %+v", evals)
		})
		if a, err := n.newest(namespace, id); err == nil {
			t.Errorf("%s was placed: %+v", id, a)
		}
		n.end(namespace, id)
	}
	for _, pool := range []string{"edge", "server"} {
		n.run(n.publisher, app("on-"+pool, map[string]any{"NodePool": pool}))
		filtered("apps", "on-"+pool)
	}
	// The other way round: what the namespace default may run, stream nodes do not.
	job := app("on-stream", map[string]any{"Namespace": "default"})
	task(job)["Driver"], task(job)["Config"] = "raw_exec", map[string]any{"command": "/bin/true"}
	n.run(n.management, job)
	filtered("default", "on-stream")

	// On every node, before all others, and as large as the node.
	all := app("everywhere", map[string]any{"Type": "system", "NodePool": "all", "Priority": 100})
	delete(group(all), "ReschedulePolicy")
	n.run(n.publisher, all)
	seat := n.says("apps", "everywhere", "app running")
	var allocs []allocation
	n.must("GET", "/v1/job/everywhere/allocations?namespace=apps", nil, &allocs)
	var node struct{ NodePool string }
	n.must("GET", "/v1/node/"+seat.NodeID, nil, &node)
	if len(allocs) != 1 || node.NodePool != "stream-cpu" {
		t.Errorf("a system job has %d allocations, in the pool %s", len(allocs), node.NodePool)
	}
	n.end("apps", "everywhere")
	if after, err := n.newest("default", "router"); err != nil || after.ID != before.ID || after.ClientStatus != "running" {
		t.Errorf("the router was %s, and is %s %s, %v", before.ID, after.ID, after.ClientStatus, err)
	}
}

var logged = regexp.MustCompile(`(?m)^(NOMAD_TOKEN[a-z_]*)=(.*)$`)

// names: a job named as one of the platform's has neither its variables, nor its policy in
// Nomad, nor its rights in Consul. Nor has one that claims to be a child of it.
func (n *nodes) names(t *testing.T) {
	type identity struct{ nomad, consul string }
	identities := map[string]identity{}
	jobs := map[string]map[string]any{"like-brain": app("like-brain", map[string]any{"ParentID": "brain"})}
	for _, name := range []string{"router", "brain", "autoscaler", "turn"} {
		jobs[name] = app(name, nil)
	}
	for _, job := range jobs {
		task(job)["Identity"] = map[string]any{"Name": "default", "Env": true}
		task(job)["Identities"] = []any{map[string]any{"Name": "stolen", "Audience": []string{"consul.io"}, "Env": true}}
		n.run(n.publisher, job)
	}
	for name := range jobs {
		seat := n.says("apps", name, "app running")
		n.until("the log of "+name, func() error {
			status, text := n.ask(n.publisher, "GET", "/v1/client/fs/logs/"+seat.ID+"?task=app&type=stdout&plain=true&namespace=apps", nil)
			found := map[string]string{}
			for _, m := range logged.FindAllStringSubmatch(text, -1) {
				found[m[1]] = m[2]
			}
			identities[name] = identity{found["NOMAD_TOKEN"], found["NOMAD_TOKEN_stolen"]}
			if identities[name].nomad == "" || identities[name].consul == "" {
				return fmt.Errorf("%d: %s", status, text)
			}
			return nil
		})
	}
	n.must("PUT", "/v1/var/nomad/jobs/brain?namespace=apps", map[string]any{"Namespace": "apps", "Path": "nomad/jobs/brain", "Items": map[string]string{"own": "value"}}, nil)
	brain := n.environ(n.edge.Dir, "brain", "NOMAD_TOKEN")
	for name, id := range identities {
		for _, path := range []string{"/v1/var/nomad/jobs/router", "/v1/var/nomad/jobs/brain", "/v1/job/router", "/v1/job/brain", "/v1/jobs?namespace=default", "/v1/jobs?namespace=apps", "/v1/nodes"} {
			if status, text := n.ask(id.nomad, "GET", path, nil); status != http.StatusForbidden {
				t.Errorf("an app named %s reads %s: %d: %.300s", name, path, status, text)
			}
		}
		if status, text := n.ask(id.nomad, "PUT", "/v1/job/like-brain/dispatch?namespace=apps", map[string]any{}); status != http.StatusForbidden {
			t.Errorf("an app named %s dispatches: %d: %s", name, status, text)
		}
		login := func() (int, string) {
			return n.askConsul("", "POST", "/v1/acl/login", map[string]any{"AuthMethod": "nomad-workloads", "BearerToken": id.consul})
		}
		if status, text := login(); status != http.StatusForbidden {
			t.Errorf("an app named %s logs in to Consul: %d: %s", name, status, text)
		}
		// With a rule for it, the same statement is good.
		remove := n.bind(name, "nearcast-router")
		if status, text := login(); status != http.StatusOK {
			t.Errorf("control: an app named %s with a rule for it: %d: %s", name, status, text)
		}
		remove()
	}
	// The identities are good: what is theirs, they get. And the brain's own rights are
	// those that its namesake lacks.
	if status, text := n.ask(identities["brain"].nomad, "GET", "/v1/var/nomad/jobs/brain?namespace=apps", nil); status != http.StatusOK || !strings.Contains(text, "value") {
		t.Errorf("control: an app named brain reads its own variable: %d: %s", status, text)
	}
	if status, text := n.ask(brain, "GET", "/v1/jobs?namespace=apps", nil); status != http.StatusOK {
		t.Errorf("control: the brain lists the apps' jobs: %d: %s", status, text)
	}
	for name := range jobs {
		n.end("apps", name)
	}
}

// bind has Consul give a policy to an app, until remove.
func (n *nodes) bind(app, policy string) (remove func()) {
	n.t.Helper()
	var rule struct{ ID string }
	status, text := n.askConsul(n.consulManagement, "PUT", "/v1/acl/binding-rule", map[string]any{"AuthMethod": "nomad-workloads", "BindType": "policy", "BindName": policy,
		"Selector": fmt.Sprintf("value.nomad_namespace==apps and value.nomad_job_id==%q", app)})
	if err := json.Unmarshal([]byte(text), &rule); err != nil {
		n.t.Fatalf("%d: %s", status, text)
	}
	return func() { n.askConsul(n.consulManagement, "DELETE", "/v1/acl/binding-rule/"+rule.ID, nil) }
}

// services: no job of a publisher registers in Consul. In Nomad its services are in its
// own namespace.
func (n *nodes) services(t *testing.T) {
	for _, name := range []string{wire.RouterService, wire.BrainService, wire.NodeService, "nomad-client"} {
		id := "service-" + name
		job := func() map[string]any {
			job := app(id, nil)
			group(job)["Services"] = []any{map[string]any{"Name": name, "Provider": "consul", "Tags": []string{"intruder"}}}
			return job
		}
		registered := func() bool {
			_, text := n.askConsul(n.consulManagement, "GET", "/v1/catalog/service/"+name, nil)
			return strings.Contains(text, "intruder")
		}
		n.run(n.publisher, job())
		n.says("apps", id, "failed to derive Consul token")
		if registered() {
			t.Errorf("a publisher's job is in Consul as %s", name)
		}
		n.end("apps", id)
		if name != wire.BrainService {
			continue
		}
		remove := n.bind(id, "nearcast-brain")
		n.run(n.publisher, job())
		n.says("apps", id, "app running")
		n.until("control: with a rule for it, it is in Consul", func() error {
			if !registered() {
				return errors.New("it is not")
			}
			return nil
		})
		n.end("apps", id)
		remove()
	}
	job := app("nomad-service", nil)
	group(job)["Services"] = []any{map[string]any{"Name": "router", "Provider": "nomad"}}
	n.run(n.publisher, job)
	n.says("apps", "nomad-service", "app running")
	n.until("the service is in apps", func() error {
		var list []struct{ JobID string }
		if err := n.get("/v1/service/router?namespace=apps", &list); err != nil || len(list) != 1 {
			return fmt.Errorf("services: %v, %v", list, err)
		}
		return nil
	})
	var list []struct{ JobID string }
	n.must("GET", "/v1/service/router", nil, &list)
	for _, s := range list {
		if s.JobID != "router" {
			t.Errorf("the service router is of the job %s", s.JobID)
		}
	}
	n.end("apps", "nomad-service")
}

// agentReads: the agent renders a job's templates and downloads its artifacts, with more
// rights than the job has.
func (n *nodes) agentReads(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "an answer") }))
	defer server.Close()
	n.must("PUT", "/v1/var/nomad/jobs/reads-own?namespace=apps", map[string]any{"Namespace": "apps", "Path": "nomad/jobs/reads-own", "Items": map[string]string{"own": "value"}}, nil)
	if status, text := n.askConsul(n.consulManagement, "PUT", "/v1/kv/nearcast/secret", "x"); status != http.StatusOK {
		t.Fatal(text)
	}
	cases := map[string]struct {
		template, artifact string
		want               string // in what Nomad says about it
		// The same on the edge node prints this, where the agent allows it. On stream
		// nodes the app prints it where want is empty.
		prints string
	}{
		"own":               {template: `{{ with nomadVar "nomad/jobs/reads-own@apps" }}{{ .own }}{{ end }}`, prints: "value"},
		"public":            {template: `{{ key "nearcast/site" }}`, prints: `"site":"site-a"`},
		"other-namespace":   {template: `{{ with nomadVar "nomad/jobs/router@default" }}{{ .ticket_key }}{{ end }}`, want: "Missing: nomad.var.block(nomad/jobs/router@default"},
		"other-job":         {template: `{{ with nomadVar "nomad/jobs/router" }}{{ .ticket_key }}{{ end }}`, want: "Missing: nomad.var.block(nomad/jobs/router@apps"},
		"consul":            {template: `{{ key "nearcast/secret" }}`, want: "Missing: kv.block(nearcast/secret)"},
		"agents-env":        {template: `{{ env "NEARCAST_TEST_NODE" }}`, want: "error calling env: function is disabled", prints: n.edge.Dir},
		"agents-env-must":   {template: `{{ mustEnv "NEARCAST_TEST_NODE" }}`, want: "error calling mustEnv: function is disabled", prints: n.edge.Dir},
		"agents-env-or":     {template: `{{ envOrDefault "NEARCAST_TEST_NODE" "" }}`, want: "error calling envOrDefault: function is disabled", prints: n.edge.Dir},
		"nodes-file":        {template: `{{ file "/etc/hostname" }}`, want: "outside of sandbox"},
		"plugin":            {template: `{{ plugin "/bin/cat" "/etc/hostname" }}`, want: "error calling plugin: function is disabled"},
		"artifact":          {artifact: server.URL, want: "deadline exceeded", prints: "an answer"},
		"artifact-s3":       {artifact: "s3::" + server.URL + "/bucket/key", want: "deadline exceeded"},
		"artifact-git":      {artifact: "git::" + server.URL + "/x.git", want: "error running"},
		"artifact-metadata": {artifact: "http://169.254.169.254/latest/meta-data/", want: "deadline exceeded"},
	}
	onEdge := map[string]bool{}
	for name, c := range cases {
		job := app("reads-"+name, nil)
		if c.template != "" {
			task(job)["Templates"] = []any{map[string]any{"EmbeddedTmpl": c.template, "DestPath": "local/x", "ChangeMode": "noop"}}
		} else {
			task(job)["Artifacts"] = []any{map[string]any{"GetterSource": c.artifact, "GetterMode": "file", "RelativeDest": "local/x"}}
		}
		n.run(n.publisher, job)
		if c.want == "" || c.prints == "" {
			continue
		}
		onEdge[name] = true
		job["Namespace"], job["NodePool"] = "default", "edge"
		task(job)["Driver"], task(job)["Config"] = "raw_exec", map[string]any{"command": "/bin/sh", "args": []string{"-c", "cat local/x; exec sleep 3600"}}
		n.run(n.management, job)
	}
	for name, c := range cases {
		id := "reads-" + name
		if c.want != "" {
			n.says("apps", id, c.want)
		} else {
			n.prints("apps", id, c.prints)
		}
		n.end("apps", id)
		if onEdge[name] {
			n.prints("default", id, c.prints)
			n.end("default", id)
		}
	}
}

// prints waits until the log of a job's allocation has a text.
func (n *nodes) prints(namespace, id, text string) {
	n.t.Helper()
	a := n.says(namespace, id, "app running")
	n.until(id+" prints "+text, func() error {
		status, log := n.ask(n.management, "GET", "/v1/client/fs/logs/"+a.ID+"?task=app&type=stdout&plain=true&namespace="+namespace, nil)
		if !strings.Contains(log, text) {
			return fmt.Errorf("%d: %s", status, log)
		}
		return nil
	})
}

// withoutCapabilities: it is the namespace that refuses other drivers. Where it allows
// them, a publisher's program runs on an edge node, beside the router.
func (n *nodes) withoutCapabilities(t *testing.T) {
	var before, after map[string]any
	n.must("GET", "/v1/namespace/apps", nil, &before)
	n.must("PUT", "/v1/namespace/apps", map[string]any{"Name": "apps"}, nil)
	job := app("raw", map[string]any{"NodePool": "edge"})
	task(job)["Driver"], task(job)["Config"] = "raw_exec", map[string]any{"command": "/bin/sh", "args": []string{"-c", "id; exec sleep 3600"}}
	n.run(n.publisher, job)
	n.prints("apps", "raw", "uid=0(root)")
	n.end("apps", "raw")
	for range 2 { // the second time changes nothing
		n.server.ACL()
		n.must("GET", "/v1/namespace/apps", nil, &after)
		delete(before, "ModifyIndex")
		delete(after, "ModifyIndex")
		if !reflect.DeepEqual(before, after) {
			t.Errorf("acl/apply.sh makes the namespace %v; it was %v", after, before)
		}
	}
	if status, text := n.register(n.publisher, job); status == http.StatusOK || !strings.Contains(text, "is not allowed in namespace") {
		t.Errorf("raw_exec: %d: %s", status, text)
	}
}
