package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/brain/nomad"
)

// appFlags say at which Nomad the apps are.
type appFlags struct {
	nomad, nomadToken string
	namespace         string
	asJSON            bool
}

func appCommand() *cobra.Command {
	var f appFlags
	cmd := &cobra.Command{
		Use:   "app",
		Short: "Check an app's job before it is registered, and the apps that are; measure them",
		Long: `Check the jobs of apps. An app is a Nomad job; these commands say what brains and
seats would complain of, and whether a job asks for what its seats use.

--nomad-token can also be set by NEARCAST_NOMAD_TOKEN or NOMAD_TOKEN; a publisher's
token is enough. --nomad can be set by NEARCAST_NOMAD or NOMAD_ADDR.`,
		Example: `  nearcast app check viewer.nomad.hcl
  nearcast app list
  nearcast app show viewer
  nearcast app advise viewer`,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return flagsFromEnv(cmd) },
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&f.nomad, "nomad", "", "address of the Nomad API of the site's region (default NOMAD_ADDR, else http://127.0.0.1:4646)")
	flags.StringVar(&f.nomadToken, "nomad-token", "", "Nomad ACL token, if Nomad needs one")
	flags.StringVar(&f.namespace, "namespace", "apps", "Nomad namespace of the apps' jobs")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
	cmd.AddCommand(appCheck(&f), appList(&f), appShow(&f), appAdvise(&f), appPublish(), appPrefetch(&f))
	return cmd
}

func (f *appFlags) open() (nomad.Checks, error) {
	checks, err := nomad.OpenChecks(nomad.Config{Address: f.nomad, Token: f.nomadToken, Namespace: f.namespace})
	if err != nil {
		return checks, fmt.Errorf("--nomad: %w", err)
	}
	return checks, nil
}

// listedApp is a job of the apps' namespace.
type listedApp struct {
	Job      string   `json:"job"`
	Version  uint64   `json:"version"`
	Warm     int      `json:"warm"`
	Max      int      `json:"max"`
	Access   string   `json:"access"`
	Problems []string `json:"problems"`
}

func appList(f *appFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Show the apps of a site, and what is wrong with their jobs",
		Long: `Show all jobs in the apps' namespace as brains read them, and what is wrong with
them. A job that is no app is in the list too, with the reason.

Exit status: 0 where nothing is wrong, else 1.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			checks, err := f.open()
			if err != nil {
				return err
			}
			defer checks.Close()
			apps, err := listApps(cmd.Context(), checks)
			if err != nil {
				return err
			}
			wrong := 0
			for _, a := range apps {
				wrong += len(a.Problems)
			}
			if err := showApps(cmd.OutOrStdout(), apps, f.asJSON); err != nil {
				return err
			}
			return complained(wrong)
		},
	}
}

func listApps(ctx context.Context, checks nomad.Checks) ([]listedApp, error) {
	jobs, err := checks.Registered(ctx)
	if err != nil {
		return nil, err
	}
	out := []listedApp{} // "[]" in JSON
	for _, j := range jobs {
		access := "the site's"
		if j.Access {
			access = string(j.App.Access)
		}
		out = append(out, listedApp{j.App.ID, j.App.Version, j.App.Warm, j.App.Max, access, orNone(j.Problems)})
	}
	return out, nil
}

func orNone(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func showApps(w io.Writer, apps []listedApp, asJSON bool) error {
	if asJSON {
		return printJSON(w, apps)
	}
	if len(apps) == 0 {
		fmt.Fprintln(w, "No app is registered. Register one with: nomad job run FILE")
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "APP\tVERSION\tWARM\tMAX\tACCESS\tPROBLEMS")
	for _, a := range apps {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%s\t%d\n", a.Job, a.Version, a.Warm, a.Max, a.Access, len(a.Problems))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, a := range apps {
		for _, problem := range a.Problems {
			fmt.Fprintf(w, "%s: %s\n", a.Job, problem)
		}
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// complained is the error of a command that has printed what is wrong.
func complained(problems int) error {
	switch problems {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("1 problem")
	}
	return fmt.Errorf("%d problems", problems)
}
