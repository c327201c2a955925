package main

import (
	"testing"

	"github.com/spf13/cobra"
)

func TestUsualVariables(t *testing.T) {
	for flag, name := range map[string]string{"consul": "CONSUL_HTTP_ADDR", "nomad": "NOMAD_ADDR"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(envName(flag), "")
			t.Setenv(name, "http://127.0.0.9:80")
			var got string
			cmd := &cobra.Command{Use: "x", RunE: func(cmd *cobra.Command, _ []string) error { return flagsFromEnv(cmd) }}
			cmd.Flags().StringVar(&got, flag, "127.0.0.1:1", "")
			cmd.SetArgs(nil)
			if err := cmd.Execute(); err != nil || got != "http://127.0.0.9:80" {
				t.Errorf("--%s is %q: %v", flag, got, err)
			}
		})
	}
	for _, c := range []struct {
		name string
		env  map[string]string
		args []string
		want string
	}{
		{"nothing", nil, nil, ""},
		{"Nearcast's own", map[string]string{"NEARCAST_NOMAD_TOKEN": "own"}, nil, "own"},
		{"as Nomad gives it to a task", map[string]string{"NOMAD_TOKEN": "task"}, nil, "task"},
		{"the own goes first", map[string]string{"NEARCAST_NOMAD_TOKEN": "own", "NOMAD_TOKEN": "task"}, nil, "own"},
		{"the command line goes before both", map[string]string{"NEARCAST_NOMAD_TOKEN": "own"}, []string{"--nomad-token=line"}, "line"},
		{"empty counts as none", map[string]string{"NEARCAST_NOMAD_TOKEN": "", "NOMAD_TOKEN": "task"}, nil, "task"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, name := range []string{"NEARCAST_NOMAD_TOKEN", "NOMAD_TOKEN"} {
				t.Setenv(name, c.env[name])
			}
			var got string
			cmd := &cobra.Command{Use: "x", RunE: func(cmd *cobra.Command, _ []string) error { return flagsFromEnv(cmd) }}
			cmd.Flags().StringVar(&got, "nomad-token", "", "")
			cmd.SetArgs(c.args)
			if err := cmd.Execute(); err != nil {
				t.Fatal(err)
			}
			if got != c.want {
				t.Errorf("the token is %q, want %q", got, c.want)
			}
		})
	}
}
