package dev

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	nomad "github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/provision"
)

// hclString quotes for HCL: as Go does, and escapes what opens a template.
func hclString(s string) string {
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(strconv.Quote(s))
}

// nomadAgent is an agent with some of a node's files. Its folder, its log and its
// process have the name of the service.
func (c *Cluster) nomadAgent(name string, v provision.Values, files ...string) (service, error) {
	// Nomad would let only itself enter its data folder. The apps below it run as
	// another user and must pass.
	if err := os.MkdirAll(v.Paths.NomadData, 0o755); err != nil {
		return service{}, err
	}
	// Forget the regions of an earlier planet.
	if err := os.RemoveAll(filepath.Join(v.Paths.NomadData, "server", "serf", "snapshot")); err != nil {
		return service{}, err
	}
	paths, err := c.configure(v, v.Paths.NomadConfig, files...)
	if err != nil {
		return service{}, err
	}
	argv := []string{c.tools["nomad"], "agent"}
	for _, path := range paths {
		argv = append(argv, "-config="+path)
	}
	return service{
		name: name,
		argv: argv,
		// A client passes the credentials on to stream hosts, which fetch content.
		env:   c.environ("AWS_ACCESS_KEY_ID="+c.s3Key.Access, "AWS_SECRET_ACCESS_KEY="+c.s3Key.Secret),
		log:   c.LogFile(name),
		grace: 10 * time.Second,
	}, nil
}

// nomadServer keeps and places jobs. Server and client are two agents: in one
// process, the client of a fresh cluster registers a moment before the server can
// sign its identity, and retries only 15 to 30 seconds later.
func (c *Cluster) nomadServer() (service, error) {
	const name = "nomad-server"
	v := c.values(provision.Server, name)
	v.JoinWAN = c.peers(c.Ports.NomadSerf)
	s, err := c.nomadAgent(name, v, "agent.hcl", "server.hcl")
	if err != nil {
		return s, err
	}
	config := &nomad.Config{Address: "http://" + c.NomadAddress}
	if c.at.Network != nil {
		config.HttpClient = c.http
	}
	if c.nomad, err = nomad.NewClient(config); err != nil {
		return s, fmt.Errorf("make Nomad client: %w", err)
	}
	config.Namespace = AppsNamespace
	if c.apps, err = nomad.NewClient(config); err != nil {
		return s, fmt.Errorf("make Nomad client: %w", err)
	}
	s.ready = func(ctx context.Context) error {
		// It can sign identities once it publishes the keys to check them with.
		body, err := c.Get(ctx, "http://"+c.NomadAddress+"/.well-known/jwks.json")
		if err == nil && !bytes.Contains(body, []byte(`"kid"`)) {
			err = errors.New("the server has no keys yet")
		}
		return err
	}
	return s, nil
}

// nomadClient is the node where everything runs: seats, the router and the brain.
func (c *Cluster) nomadClient() (service, error) {
	const name = "nomad"
	s, err := c.nomadAgent(name, c.values(provision.Stream, name), "agent.hcl", "client.hcl", "stream.hcl")
	s.ready = c.nodeReady
	s.argv = slices.Concat(c.at.NodePrefix, s.argv)
	return s, err
}

// nodeReady reports why seats cannot be placed yet. It asks the client itself first:
// for a while, the server says that a killed node is ready.
func (c *Cluster) nodeReady(ctx context.Context) error {
	if _, err := c.Get(ctx, "http://"+local(c.Ports.NomadClient)+"/v1/agent/health?type=client"); err != nil {
		return err
	}
	nodes, _, err := c.nomad.Nodes().List((&nomad.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	if len(nodes) == 0 {
		return errors.New("the node has not registered yet")
	}
	for _, node := range nodes {
		if node.Status != nomad.NodeStatusReady {
			err = fmt.Errorf("the node is %s", node.Status)
			continue
		}
		d := node.Drivers["stream"]
		if d == nil {
			err = errors.New("the node has not loaded the stream driver yet")
			continue
		}
		if !d.Healthy {
			err = fmt.Errorf("the stream driver is not healthy: %s", d.HealthDescription)
			continue
		}
		return nil
	}
	return err
}

// nomadServes reports whether jobs can be stopped.
func (c *Cluster) nomadServes() bool {
	return c.status("nomad").State == StateReady && c.status("nomad-server").State == StateReady
}

// makeNamespace makes the namespace of the apps, as acl/apply.sh does at a site with
// access control.
func (c *Cluster) makeNamespace(ctx context.Context) error {
	file := filepath.Join(c.root, "acl", "nomad", "apps.namespace.json")
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read namespace: %w", err)
	}
	var namespace nomad.Namespace
	if err := json.Unmarshal(text, &namespace); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	if _, err := c.nomad.Namespaces().Register(&namespace, (&nomad.WriteOptions{}).WithContext(ctx)); err != nil {
		return fmt.Errorf("make the namespace %s in Nomad: %w", namespace.Name, err)
	}
	return nil
}

// RunJob does what "nomad job run -var k=v … file" does, and returns the job's id.
func (c *Cluster) RunJob(ctx context.Context, file string, vars map[string]string) (string, error) {
	var variables strings.Builder
	for _, k := range slices.Sorted(maps.Keys(vars)) {
		fmt.Fprintf(&variables, "%s = %s\n", k, hclString(vars[k]))
	}
	return c.runJob(ctx, file, variables.String())
}

// runJob runs a job with values for its variables, as lines of HCL.
func (c *Cluster) runJob(ctx context.Context, file, variables string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read job: %w", err)
	}
	// The agent parses the job, and knows only the variables in the request.
	job, err := c.nomad.Jobs().ParseHCLOpts(&nomad.JobsParseRequest{
		JobHCL: string(text), Variables: variables, Canonicalize: true,
	})
	if err != nil {
		return "", fmt.Errorf("parse %s: %w", file, err)
	}
	_, _, err = c.nomad.Jobs().RegisterOpts(job, &nomad.RegisterOptions{
		Submission: &nomad.JobSubmission{Source: string(text), Format: "hcl2", Variables: variables},
	}, (&nomad.WriteOptions{}).WithContext(ctx))
	if err != nil {
		return "", fmt.Errorf("register %s: %w", file, err)
	}
	return *job.ID, nil
}

// stopSeats stops every allocation that still runs, and returns when all have ended
// or ctx has. Parameterized jobs stay: they are the published apps, and run nothing by
// themselves.
func (c *Cluster) stopSeats(ctx context.Context) (stopped int, err error) {
	everywhere := (&nomad.QueryOptions{Namespace: nomad.AllNamespacesNamespace}).WithContext(ctx)
	jobs, _, err := c.nomad.Jobs().List(everywhere)
	if err != nil {
		return 0, fmt.Errorf("list jobs: %w", err)
	}
	for _, job := range jobs {
		if job.ParameterizedJob && job.ParentID == "" || job.Status == "dead" {
			continue
		}
		if _, _, err := c.nomad.Jobs().Deregister(job.ID, false, (&nomad.WriteOptions{Namespace: job.Namespace}).WithContext(ctx)); err != nil {
			return stopped, fmt.Errorf("stop job %s: %w", job.ID, err)
		}
		stopped++
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		allocs, _, err := c.nomad.Allocations().List(everywhere)
		if err != nil {
			return stopped, fmt.Errorf("list allocations: %w", err)
		}
		if !slices.ContainsFunc(allocs, func(a *nomad.AllocationListStub) bool {
			return a.ClientStatus == nomad.AllocClientStatusRunning || a.ClientStatus == nomad.AllocClientStatusPending
		}) {
			return stopped, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return stopped, fmt.Errorf("wait for seats to end: %w", ctx.Err())
		}
	}
}
