package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// shownSecrets is the name in templates/consul-agent.hcl.tmpl.
const shownSecrets = "secrets"

func showCommand() *cobra.Command {
	var env, dir string
	var within time.Duration
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Tell the site which secrets this node has",
		Long: `Wait until this node's Consul agent has read which of the cluster's secrets the node has, and
write it into the site's catalog. nearcast cloud rotate waits for it. nearcast-renew runs this
after it had the agents read what changed; without it, Consul does so within a few minutes.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, s, err := nodeSecrets(env, dir)
			if err != nil || s.Generation == "" { // an earlier release made them
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), within)
			defer cancel()
			consul, _ := agentsOf(v, s, dir)
			tick := time.NewTicker(200 * time.Millisecond)
			defer tick.Stop()
			for {
				if err = consul.Show(ctx, v.Node, shownSecrets, s.Generation); err == nil {
					return nil
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
					return fmt.Errorf("not within %s: %w", within, err)
				}
			}
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&env, "env", envFile, "the file that describes this node")
	flags.StringVar(&dir, "secrets", secretsDir, "the folder with this node's secrets")
	flags.DurationVar(&within, "within", time.Minute, "how long Consul may take")
	return cmd
}
