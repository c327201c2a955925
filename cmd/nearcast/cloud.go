package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/user"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/cloud"
	"github.com/nearcast/nearcast/cloud/aws"
	"github.com/nearcast/nearcast/cloud/nomad"
	"github.com/nearcast/nearcast/internal/fleet"
)

// cloudFlags say which cluster it is, and how it is reached.
type cloudFlags struct {
	outputs, terraform  string
	nomad, nomadToken   string
	consul, consulToken string
	cluster             string
	sites               []string
	noAWS               bool
}

func cloudCommand() *cobra.Command {
	var f cloudFlags
	cmd := &cobra.Command{
		Use:   "cloud",
		Short: "Run, publish to, repair and replace the sites of a cluster, and its secrets",
		Long: `What an operator does with all sites of a cluster. What the sites are follows from
Terraform's outputs: from a file that "terraform output -json" made (--outputs), else from
the folder of Terraform (--terraform).

Consul and Nomad are asked through one server of one site, mostly by a tunnel: it forwards
what is for another site. Their addresses and management tokens come from the flags, else from
CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN, NOMAD_ADDR and NOMAD_TOKEN. --cluster-file names the file of
the cluster's secret (docs/DEPLOY.md), which has both tokens. Each flag is an environment
variable, too: NEARCAST_OUTPUTS is --outputs.

Each command may be run again, also after it was interrupted: it goes on.`,
		Example: `  nearcast cloud plan
  nearcast cloud up
  nearcast cloud publish jobs/viewer.nomad.hcl --var node_pool=stream-cpu
  nearcast cloud doctor`,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return flagsFromEnv(cmd) },
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&f.outputs, "outputs", "", "file with what terraform output -json printed; - reads standard input (default: ask terraform)")
	flags.StringVar(&f.terraform, "terraform", "terraform", "folder of Terraform, which is asked without --outputs, and planned by the command plan")
	flags.StringVar(&f.nomad, "nomad", "", "address of a Nomad server (default NOMAD_ADDR, else http://127.0.0.1:4646)")
	flags.StringVar(&f.nomadToken, "nomad-token", "", "Nomad's management token")
	flags.StringVar(&f.consul, "consul", "127.0.0.1:8500", "address of a Consul server")
	flags.StringVar(&f.consulToken, "consul-token", "", "Consul's management token")
	flags.StringVar(&f.cluster, "cluster-file", "", "file with the cluster's secret, which has both tokens")
	flags.StringSliceVar(&f.sites, "site", nil, "only this site; can be repeated (default: all)")
	flags.BoolVar(&f.noAWS, "no-aws", false, "ask nothing of the AWS account: groups, reasons, buckets")
	cmd.AddCommand(cloudPlan(&f), cloudUp(&f), cloudPublish(&f), cloudDoctor(&f), cloudRoll(&f), cloudRotate(&f), cloudPromote(&f))
	return cmd
}

// open reads the outputs, and looks whether Consul and Nomad answer.
func (f *cloudFlags) open(cmd *cobra.Command) (c *cloud.Cluster, sites []cloud.Site, end func(), err error) {
	text, err := f.read(cmd.Context(), cmd.InOrStdin())
	if err != nil {
		return nil, nil, nil, err
	}
	outputs, err := cloud.ReadOutputs(text)
	if err != nil {
		return nil, nil, nil, err
	}
	return f.openWith(cmd, outputs)
}

// openWith is open, where the outputs are known.
func (f *cloudFlags) openWith(cmd *cobra.Command, outputs cloud.Outputs) (c *cloud.Cluster, sites []cloud.Site, end func(), err error) {
	ctx := cmd.Context()
	if sites, err = outputs.Only(f.sites); err != nil {
		return nil, nil, nil, fmt.Errorf("--site: %w", err)
	}
	if err := f.tokens(); err != nil {
		return nil, nil, nil, fmt.Errorf("--cluster-file: %w", err)
	}
	n, err := nomad.Open(nomad.Config{Address: f.nomad, Token: f.nomadToken})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("--nomad: %w", err)
	}
	consul, err := fleet.Open(fleet.Config{Address: f.consul, Token: f.consulToken, Log: quiet})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("--consul: %w", err)
	}
	end = func() { n.Close(); consul.Close() }
	_, err = n.Regions(ctx)
	_, err2 := consul.Sites(ctx)
	// A server that refuses is one that answers: what it lacks, the command says.
	if silent := (*url.Error)(nil); errors.As(errors.Join(err, err2), &silent) {
		end()
		return nil, nil, nil, unreached(outputs, silent)
	}
	c = &cloud.Cluster{Outputs: outputs, By: operatorName(), Web: cloud.Internet{}, Say: func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) }}
	c.Reach = func(site string) cloud.Reached {
		return cloud.Reached{Nomad: n.At(site), Consul: cloud.FromFleet(consul, site)}
	}
	if !f.noAWS {
		c.Cloud = func(site string) (cloud.Cloud, error) { return aws.Open(ctx, site) }
	}
	return c, sites, end, nil
}

// operatorName is what another operator is told.
func operatorName() string {
	name := "?"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	machine, _ := os.Hostname()
	return name + "@" + machine
}

func (f *cloudFlags) read(ctx context.Context, stdin io.Reader) ([]byte, error) {
	switch f.outputs {
	case "":
		return cloud.TerraformOutputs(ctx, f.terraform)
	case "-":
		return io.ReadAll(stdin)
	}
	text, err := os.ReadFile(f.outputs)
	if err != nil {
		return nil, fmt.Errorf("--outputs: %w", err)
	}
	return text, nil
}

// tokens takes what the flags do not say from the cluster's secret.
func (f *cloudFlags) tokens() error {
	if f.cluster == "" {
		return nil
	}
	text, err := os.ReadFile(f.cluster)
	if err != nil {
		return err
	}
	var files map[string]string
	if err := json.Unmarshal(text, &files); err != nil {
		return fmt.Errorf("read %s: %w", f.cluster, err)
	}
	f.nomadToken = cmp.Or(f.nomadToken, strings.TrimSpace(files["shared/nomad-management.token"]))
	f.consulToken = cmp.Or(f.consulToken, strings.TrimSpace(files["shared/consul-management.token"]))
	if f.nomadToken == "" || f.consulToken == "" {
		return fmt.Errorf("%s has no management tokens; it has to be the secret of servers", f.cluster)
	}
	return nil
}

// unreached says how to reach a server.
func unreached(o cloud.Outputs, err error) error {
	how := "ssh -L 4646:127.0.0.1:4646 -L 8500:127.0.0.1:8500 SERVER"
	if connect := o.Connect[o.Primary().Name]; connect != "" {
		how = connect + "\n  " + strings.ReplaceAll(connect, "4646", "8500")
	}
	return fmt.Errorf("cannot ask the servers: %w\nOpen tunnels to a server, and keep them open:\n  %s\nor name its addresses by --nomad and --consul, or NOMAD_ADDR and CONSUL_HTTP_ADDR", err, how)
}
