package dev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	nomad "github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/dev/wan"
	"github.com/nearcast/nearcast/internal/ticket"
)

// The server and the client are two agents. In one process, the client of a
// fresh cluster registers a moment before the server can sign its identity, and
// tries again only 15 to 30 seconds later.
const nomadCommon = `
region               = {{q .Site}}
datacenter           = {{q .Site}}
name                 = "dev"
data_dir             = {{q .Data}}
bind_addr            = {{q .Host}}
disable_update_check = true
leave_on_terminate   = false
leave_on_interrupt   = false

advertise {
  http = {{q .HTTP}}
  rpc  = {{q .RPC}}
  serf = {{q .Serf}}
}

consul {
  address          = {{q .Consul}}
  client_auto_join = false
  server_auto_join = false
}
`

const nomadServerConfig = `
ports {
  http = {{.Ports.Nomad}}
  rpc  = {{.Ports.NomadRPC}}
  serf = {{.Ports.NomadSerf}}
}

server {
  enabled          = true
  bootstrap_expect = 1
  raft_multiplier  = 1
  # Every session leaves a finished job behind. They are kept long enough to
  # be looked at, and not long enough to become many.
  job_gc_interval         = "1m"
  job_gc_threshold        = "30m"
  eval_gc_threshold       = "30m"
  batch_eval_gc_threshold = "30m"
{{- if .Peers}}
  server_join {
    retry_join     = [{{range .Peers}}{{q .}}, {{end}}]
    retry_interval = "1s"
  }
{{- end}}
}
`

const nomadClientConfig = `
plugin_dir = {{q .Plugins}}

ports {
  http = {{.Ports.NomadClient}}
}

client {
  enabled           = true
  servers           = [{{q .RPC}}]
  network_interface = {{q .Interface}}
  # Seats are placed by what the sample jobs ask for, and a laptop has less
  # than a rendering node: the CPU is over-committed on purpose.
  cpu_total_compute = {{.Compute}}
  gc_max_allocs     = 100
  # A developer's disk is often nearly full, and that is no reason to forget sessions.
  gc_disk_usage_threshold  = 99
  gc_inode_usage_threshold = 99
  options = {
    # No cloud here, and asking for one takes seconds.
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean"
    "driver.allowlist"     = "stream,exec,raw_exec"
  }
}

plugin "nomad-driver-stream" {
  config {
    stream_host = {{q .StreamHost}}
    run_dir     = {{q .RunDir}}
    ticket_keys = {{q .TicketKeys}}
    isolate     = {{.Root}}
{{- if .Root}}
    user        = "nobody"
{{- end}}
    cache {
      dir      = {{q .Cache}}
      max_size = "4GiB"
    }
    s3 {
      endpoint   = {{q .S3}}
      region     = {{q .S3Region}}
      path_style = true
    }
    consul {
      address = {{q .Consul}}
    }
    listen {
      control  = {{q .Host}}
{{- if .Alone}}
      loopback = true
{{- else}}
      media    = {{q .Host}}
{{- end}}
    }
  }
}
`

// hclString quotes for HCL: as Go does, with template openings escaped.
func hclString(s string) string {
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(strconv.Quote(s))
}

// minCompute is the CPU, in MHz, that the client claims to have at least.
const minCompute = 16_000

// nomadAgent is an agent with nomadCommon and a role's own configuration. Its
// folder, its log and its process have the name of the service.
func (c *Cluster) nomadAgent(name, role string, http int) (service, error) {
	dir := filepath.Join(c.Dir, name)
	// Nomad would make its data folder for itself alone, but the apps below it
	// run as a user of their own and must get through.
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o755); err != nil {
		return service{}, err
	}
	format, err := template.New(name).Funcs(template.FuncMap{"q": hclString}).Parse(nomadCommon + role)
	if err != nil {
		return service{}, err
	}
	var peers []string
	for _, peer := range c.at.peers {
		peers = append(peers, net.JoinHostPort(peer, strconv.Itoa(c.Ports.NomadSerf)))
	}
	// Regions that an earlier planet had are not asked for.
	if err := os.RemoveAll(filepath.Join(dir, "data", "server", "serf", "snapshot")); err != nil {
		return service{}, err
	}
	iface := "lo"
	if c.at.ns != nil {
		iface = wan.Device
	}
	var config bytes.Buffer
	err = format.Execute(&config, map[string]any{
		"Site": c.Site, "Host": c.at.host, "Peers": peers, "Interface": iface, "Alone": c.at.ns == nil,
		"Data": filepath.Join(dir, "data"), "Plugins": filepath.Join(c.bin, "plugins"),
		"Ports": c.Ports, "HTTP": c.address(http), "RPC": c.address(c.Ports.NomadRPC), "Serf": c.address(c.Ports.NomadSerf),
		"Compute": minCompute, "Consul": c.ConsulAddress, "Root": os.Geteuid() == 0,
		"StreamHost": filepath.Join(c.bin, "stream-host"), "RunDir": c.runDir,
		"TicketKeys": filepath.Join(c.at.keys, ticket.PublicKeysFile),
		"Cache":      filepath.Join(c.Dir, "cache"), "S3": c.S3Endpoint, "S3Region": S3Region,
	})
	if err != nil {
		return service{}, err
	}
	path := filepath.Join(dir, "nomad.hcl")
	if err := writeFile(path, config.Bytes(), 0o644); err != nil {
		return service{}, err
	}
	return service{
		name: name,
		argv: []string{c.tools["nomad"], "agent", "-config=" + path},
		// A client hands the credentials on to stream hosts, which fetch content.
		env:   c.environ("AWS_ACCESS_KEY_ID="+c.s3Key.Access, "AWS_SECRET_ACCESS_KEY="+c.s3Key.Secret),
		log:   c.LogFile(name),
		grace: 10 * time.Second,
	}, nil
}

// nomadServer is where jobs are known and placed.
func (c *Cluster) nomadServer() (service, error) {
	s, err := c.nomadAgent("nomad-server", nomadServerConfig, c.Ports.Nomad)
	if err != nil {
		return s, err
	}
	config := &nomad.Config{Address: "http://" + c.NomadAddress}
	if c.at.ns != nil {
		config.HttpClient = c.http
	}
	if c.nomad, err = nomad.NewClient(config); err != nil {
		return s, fmt.Errorf("make Nomad client: %w", err)
	}
	s.ready = func(ctx context.Context) error {
		// It can sign identities once it shows the keys to check them with.
		body, err := c.get(ctx, "http://"+c.NomadAddress+"/.well-known/jwks.json")
		if err == nil && !bytes.Contains(body, []byte(`"kid"`)) {
			err = errors.New("the server has no keys yet")
		}
		return err
	}
	return s, nil
}

// nomadClient is the node where seats run.
func (c *Cluster) nomadClient() (service, error) {
	s, err := c.nomadAgent("nomad", nomadClientConfig, c.Ports.NomadClient)
	s.ready = c.nodeReady
	if err != nil || c.at.ns == nil {
		return s, err
	}
	if c.displays, err = ownDisplays(); err != nil {
		return s, err
	}
	s.argv = append([]string{"nsenter", fmt.Sprintf("--mount=/proc/%d/fd/%d", os.Getpid(), c.displays.Fd()), "--"}, s.argv...)
	return s, nil
}

// nodeReady reports why seats cannot be placed yet. The client itself is asked
// first: of a node that was killed, the server says for a while that it is ready.
func (c *Cluster) nodeReady(ctx context.Context) error {
	if _, err := c.get(ctx, "http://"+c.address(c.Ports.NomadClient)+"/v1/agent/health?type=client"); err != nil {
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
			err = errors.New("the node does not know the stream driver yet")
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

// RunJob does what "nomad job run -var k=v … file" does, and returns the job's id.
func (c *Cluster) RunJob(ctx context.Context, file string, vars map[string]string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read job: %w", err)
	}
	var flags strings.Builder
	for _, k := range slices.Sorted(maps.Keys(vars)) {
		fmt.Fprintf(&flags, "%s = %s\n", k, hclString(vars[k]))
	}
	// A parse happens on the agent, and knows no variables but those in the request.
	job, err := c.nomad.Jobs().ParseHCLOpts(&nomad.JobsParseRequest{
		JobHCL: string(text), Variables: flags.String(), Canonicalize: true,
	})
	if err != nil {
		return "", fmt.Errorf("parse %s: %w", file, err)
	}
	_, _, err = c.nomad.Jobs().RegisterOpts(job, &nomad.RegisterOptions{
		Submission: &nomad.JobSubmission{Source: string(text), Format: "hcl2", Variables: flags.String()},
	}, (&nomad.WriteOptions{}).WithContext(ctx))
	if err != nil {
		return "", fmt.Errorf("register %s: %w", file, err)
	}
	return *job.ID, nil
}

// stopSeats ends every running allocation and returns when all have ended, or
// ctx. Parameterized jobs stay: they are what the operator published, and run
// nothing by themselves.
func (c *Cluster) stopSeats(ctx context.Context) (stopped int, err error) {
	jobs, _, err := c.nomad.Jobs().List((&nomad.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return 0, fmt.Errorf("list jobs: %w", err)
	}
	for _, job := range jobs {
		if job.ParameterizedJob && job.ParentID == "" || job.Status == "dead" {
			continue
		}
		if _, _, err := c.nomad.Jobs().Deregister(job.ID, false, (&nomad.WriteOptions{}).WithContext(ctx)); err != nil {
			return stopped, fmt.Errorf("stop job %s: %w", job.ID, err)
		}
		stopped++
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		allocs, _, err := c.nomad.Allocations().List((&nomad.QueryOptions{}).WithContext(ctx))
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
