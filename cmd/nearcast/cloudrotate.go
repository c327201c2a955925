package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/cloud"
	"github.com/nearcast/nearcast/provision/awsapi"
	"github.com/nearcast/nearcast/provision/secrets"
)

func cloudRotate(f *cloudFlags) *cobra.Command {
	var dir string
	var dryRun bool
	var o cloud.RotateOptions
	var names []string
	about := ""
	for _, r := range cloud.Rotations() {
		names = append(names, r.Name)
		about += fmt.Sprintf("  %-18s %s\n", r.Name, r.What)
	}
	cmd := &cobra.Command{
		Use:   "rotate SECRET",
		Short: "Replace a secret of the cluster by a new one, while sessions go on",
		Long: `Replace a secret by a new one, in steps: the new one is accepted, then used, and then the
old one is withdrawn. The secrets:

` + about + `
They are read from Secrets Manager, or from the folder of nearcast provision secrets
(--secrets), and written there. Nodes in AWS fetch them within a day, or when
nearcast-renew runs; without AWS you copy them. The command waits until all nodes that are
not lost show in Consul that they have them, and until the time is over for which the old
secret has to stay good.

It may be killed at any line. Run it again: it goes on. One secret is rotated at a time.
Nothing is changed while the servers of a site are not whole. --dry-run says what it would
do, and how far it is.

Consul's and Nomad's tokens come from these secrets, and from nowhere else.`,
		Annotations: map[string]string{leaves: "If a step was begun, the rotation is not complete: run it again, and it goes on. Until it is complete, no other secret can be rotated."},
		Example:     "  nearcast cloud rotate gossip --dry-run\n  nearcast cloud rotate authority\n  nearcast cloud rotate ticket-key --secrets ~/nearcast-secrets",
		Args:        cobra.ExactArgs(1),
		ValidArgs:   names,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if len(f.sites) > 0 {
				return errors.New("a secret is the same at all sites, or tied to what other sites have: leave out --site")
			}
			text, err := f.read(ctx, cmd.InOrStdin())
			if err != nil {
				return err
			}
			outputs, err := cloud.ReadOutputs(text)
			if err != nil {
				return err
			}
			if dir != "" {
				o.Keep = folder(dir)
			} else if o.Keep, err = openStores(ctx, outputs); err != nil {
				return err
			}
			if dryRun {
				c := &cloud.Cluster{Outputs: outputs}
				lines, err := c.RotationPlan(ctx, args[0], o)
				if err == nil {
					fmt.Fprintln(cmd.OutOrStdout(), strings.Join(lines, "\n"))
				}
				return err
			}
			files, err := o.Keep.Read(ctx)
			if err != nil {
				return err
			}
			// Not the environment's: a run before may have withdrawn those.
			f.cluster, f.nomadToken, f.consulToken = "", strings.TrimSpace(files["shared/nomad-management.token"]), strings.TrimSpace(files["shared/consul-management.token"])
			c, _, end, err := f.openWith(cmd, outputs)
			if err != nil {
				return err
			}
			defer end()
			if err := c.Rotate(ctx, args[0], o); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "The secret %s is new at all sites, and the old one is withdrawn.\n", args[0])
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&dir, "secrets", "", "folder of nearcast provision secrets (default: Secrets Manager)")
	flags.BoolVar(&dryRun, "dry-run", false, "say the steps, and which are done; change nothing")
	flags.DurationVar(&o.Overlap, "overlap", 0, "keep the old secret good at least so long after the new one is used, such as 24h")
	flags.DurationVar(&o.Within, "within", 30*time.Hour, "how long nodes may take to have new secrets, for each step that waits for them")
	flags.DurationVar(&o.Settle, "settle", cloud.DefaultSettle, "how long jobs may take to read what they were told")
	return cmd
}

// folder is a cloud.Keep in files.
type folder string

func (f folder) Read(context.Context) (map[string]string, error) { return secrets.Read(string(f)) }
func (f folder) Write(_ context.Context, files map[string]string) error {
	return secrets.Replace(string(f), files, cloud.StateFile)
}
func (f folder) Tell() string {
	return fmt.Sprintf("copy %[1]s/SITE/ROLE/ to /etc/nearcast/secrets/ of each node, and run systemctl start nearcast-renew there; servers first, one after the other", string(f))
}

// stores is a cloud.Keep in Secrets Manager: each site has a copy.
type stores struct {
	sites []cloud.Site // the primary one first
	at    map[string]*awsapi.Client
	// versions are those that were read, by site: a Write follows them, or changes nothing.
	versions map[string]string
}

func openStores(ctx context.Context, o cloud.Outputs) (stores, error) {
	s := stores{o.Sites, map[string]*awsapi.Client{}, map[string]string{}}
	for _, site := range o.Sites {
		if site.Secrets["servers"] == "" {
			return s, fmt.Errorf("the outputs name no secret of %s in Secrets Manager: name the folder of nearcast provision secrets by --secrets", site.Name)
		}
	}
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return s, fmt.Errorf("load the configuration of the AWS SDK: %w", err)
	}
	for _, site := range o.Sites {
		s.at[site.Name] = awsapi.New(cfg, site.Name)
	}
	return s, nil
}

// Read returns the primary site's copy. It asks all sites: a Write needs them.
func (s stores) Read(ctx context.Context) (files map[string]string, err error) {
	for i, site := range s.sites {
		text, version, err := s.at[site.Name].SecretVersion(ctx, site.Secrets["servers"])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", site.Name, err)
		}
		s.versions[site.Name] = version
		if i > 0 {
			continue
		}
		if err := json.Unmarshal([]byte(text), &files); err != nil {
			return nil, fmt.Errorf("read the secret %s: %w", site.Secrets["servers"], err)
		}
	}
	return files, nil
}

// Write gives the primary site's copy its new value last: it says how far a rotation is.
func (s stores) Write(ctx context.Context, files map[string]string) error {
	text, err := json.Marshal(files)
	if err != nil {
		return err
	}
	for i := len(s.sites) - 1; i >= 0; i-- {
		site := s.sites[i]
		next, err := s.at[site.Name].PutSecretAfter(ctx, site.Secrets["servers"], string(text), s.versions[site.Name])
		if errors.Is(err, awsapi.ErrSecretChanged) {
			err = fmt.Errorf("%w: %w", err, cloud.ErrChanged)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", site.Name, err)
		}
		s.versions[site.Name] = next
	}
	return nil
}

func (s stores) Tell() string { return "" }
