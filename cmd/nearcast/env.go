package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usual are the variables that the programs of Consul and Nomad read, and that
// Nomad sets for a task with a workload identity.
var usual = map[string]string{
	"consul":       "CONSUL_HTTP_ADDR",
	"consul-token": "CONSUL_HTTP_TOKEN",
	"nomad":        "NOMAD_ADDR",
	"nomad-token":  "NOMAD_TOKEN",
}

// flagsFromEnv sets each flag that is not on the command line from the
// environment: --ticket-key from NEARCAST_TICKET_KEY. An empty variable counts
// as not set. Flags that can be repeated take a comma-separated list. With names,
// only those flags are set.
func flagsFromEnv(cmd *cobra.Command, names ...string) error {
	var err error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if len(names) > 0 && !slices.Contains(names, f.Name) {
			return
		}
		name := envName(f.Name)
		value := os.Getenv(name)
		if value == "" && usual[f.Name] != "" {
			name = usual[f.Name]
			value = os.Getenv(name)
		}
		if f.Changed || value == "" || f.Name == "help" {
			return
		}
		if e := cmd.Flags().Set(f.Name, value); e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", name, e))
		}
	})
	return err
}

func envName(flag string) string {
	return "NEARCAST_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}
