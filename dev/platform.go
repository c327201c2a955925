package dev

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	nomad "github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// keys makes the ticket keys where there are none.
func (c *Cluster) keys() error {
	if err := ticket.GenerateKeys(c.at.Keys); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// 64 hex digits, with which operators list and end sessions.
	file := filepath.Join(c.at.Keys, OperatorTokenFile)
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	token := make([]byte, 32)
	rand.Read(token) // never fails; see its documentation
	// A link, so that of sites that start together one makes it.
	made := fmt.Sprintf("%s.%x", file, token[:4])
	defer os.Remove(made)
	err := os.WriteFile(made, fmt.Appendf(nil, "%x\n", token), 0o600)
	if err == nil {
		err = os.Link(made, file)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write the operators' token: %w", err)
	}
	return nil
}

// OperatorTokenFile is where the operators' token of a dev site is, in its folder of keys.
const OperatorTokenFile = "operator-token"

// publishKeys writes the ticket keys where the jobs of router and brain read them.
func (c *Cluster) publishKeys(ctx context.Context) error {
	private, err := os.ReadFile(filepath.Join(c.at.Keys, ticket.PrivateKeyFile))
	if err != nil {
		return fmt.Errorf("read ticket key: %w", err)
	}
	public, err := os.ReadFile(filepath.Join(c.at.Keys, ticket.PublicKeysFile))
	if err != nil {
		return fmt.Errorf("read ticket keys: %w", err)
	}
	operator, err := os.ReadFile(filepath.Join(c.at.Keys, OperatorTokenFile))
	if err != nil {
		return fmt.Errorf("read the operators' token: %w", err)
	}
	for job, items := range map[string]nomad.VariableItems{
		"router": {"ticket_key": string(private), "ticket_keys": string(public), "operator_token": strings.TrimSpace(string(operator))},
		"brain":  {"ticket_keys": string(public), "events_access_key": c.s3Key.Access, "events_secret_key": c.s3Key.Secret},
		// In a site for development, the operators' token is the console's, too.
		"console": {"router_token": strings.TrimSpace(string(operator)), "token": strings.TrimSpace(string(operator))},
	} {
		v := &nomad.Variable{Path: "nomad/jobs/" + job, Items: items}
		if _, _, err := c.nomad.Variables().Update(v, (&nomad.WriteOptions{}).WithContext(ctx)); err != nil {
			return fmt.Errorf("put keys for %s into Nomad: %w", job, err)
		}
	}
	return nil
}

// router and brain are production's jobs, jobs/platform, with values for one machine.
func (c *Cluster) router() platformJob {
	return platformJob{name: "router", port: c.Ports.Router, internal: c.Ports.RouterInternal, url: c.URL, options: c.routerArgs}
}

func (c *Cluster) brain() platformJob {
	// Not by the task's own socket: in a developer's folder its path may be too long
	// for a socket.
	j := platformJob{name: "brain", port: c.Ports.Brain, internal: c.Ports.BrainInternal, url: c.BrainURL, options: []string{
		"--nomad=" + c.NomadAddress,
		// On a developer's machine, an app is to be played as soon as it is registered.
		"--default-access=" + string(wire.AccessPublic),
		// And a developer's server is at this machine.
		"--events=s3://" + Bucket + "/events?endpoint=" + c.S3Endpoint + "&region=" + s3Region, "--private-webhooks",
	}}
	if c.at.Residency != "" {
		j.options = append(j.options, "--residency="+c.at.Residency)
	}
	return j
}

// console is production's job, too. It logs in with the operators' token, and Nomad has no ACLs here.
func (c *Cluster) console() platformJob {
	return platformJob{name: "console", port: c.Ports.Console, url: "http://" + c.address(c.Ports.Console), options: []string{
		"--nomad=" + c.NomadAddress, "--token-role=" + string(wire.RoleAdmin),
	}}
}

// ConsoleURL is where the console's page is.
func (c *Cluster) ConsoleURL() string {
	return "http://" + c.address(c.Ports.Console) + wire.ConsolePath
}

// platformJob is a job of jobs/platform with one task, of the same name.
type platformJob struct {
	name           string
	port, internal int
	url            string   // that browsers use
	options        []string // of the program
}

// variables are the values of the job's variables, as HCL.
func (j platformJob) variables(c *Cluster) string {
	options := append([]string{"--consul=" + c.ConsulAddress}, j.options...)
	for i, option := range options {
		options[i] = hclString(option)
	}
	list := []string{
		"url       = " + hclString(j.url),
		"binary    = " + hclString(filepath.Join(c.bin, "nearcast")),
		"options   = [" + strings.Join(options, ", ") + "]",
		fmt.Sprintf("port      = %d", j.port),
		`node_pool = "default"`,
		// Isolation would need a copy of the system's libraries for each task.
		`driver    = "raw_exec"`,
		"acl       = false",
	}
	if traces := os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"); traces != "" && j.internal != 0 {
		list = append(list, "traces    = "+hclString(traces))
	}
	if j.internal != 0 {
		// One of each: its port is fixed.
		list = append(list, fmt.Sprintf("internal_port = %d", j.internal), "count     = 1", "canary    = 0")
	}
	return strings.Join(list, "\n") + "\n"
}

// run registers the job, and begins to watch its task.
func (j platformJob) run(ctx context.Context, c *Cluster) error {
	if _, err := c.runJob(ctx, filepath.Join(c.root, "jobs", "platform", j.name+jobSuffix), j.variables(c)); err != nil {
		return err
	}
	ready := func(ctx context.Context) error {
		_, err := c.Get(ctx, fmt.Sprintf("http://%s/healthz", c.address(j.port)))
		return err
	}
	c.add(startTask(c, j.name, []string{filepath.Join(c.bin, "nearcast"), j.name}, ready))
	return nil
}

// OperatorToken is the file of the token with which operators list and end sessions.
func (c *Cluster) OperatorToken() string { return filepath.Join(c.at.Keys, OperatorTokenFile) }
