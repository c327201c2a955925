package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/cloud"
	"github.com/nearcast/nearcast/internal/wire"
)

// appReport is what a check of a job found.
type appReport struct {
	Job string `json:"job"`
	// Problems keep the app from working as its job says. Notes are what could not be
	// checked from here, or depends on a node's operator.
	Problems []string `json:"problems"`
	Notes    []string `json:"notes"`
}

func appCheck(f *appFlags) *cobra.Command {
	var vars, varFiles []string
	var driver, router string
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Say all that brains and seats of a site would complain of in a job",
		Long: `Check a job file against a site, and register nothing. Nomad parses and plans the
job. The driver's own program checks the task's config as a node would: its names, kinds
and values. The job's meta is read as brains read it. Among the nodes of its pool and
datacenters one is looked for that is large enough, takes new seats, and has what the task
asks for.

FILE is in HCL, as for nomad job run; - reads standard input. Nomad's API parses it: there,
functions that read files do not work.

For an app with access = "login", --router is asked whether the site's routers have a login
provider.

The driver's program, nomad-driver-stream, must be beside nearcast or in PATH, or named by
--driver. Use that of the release that the nodes have.

Exit status: 0 where nothing is wrong, else 1.`,
		Example: `  nearcast app check viewer.nomad.hcl
  nearcast app check -var warm=2 --json viewer.nomad.hcl`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			source, err := readJob(cmd.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			variables, err := variablesOf(vars, varFiles)
			if err != nil {
				return err
			}
			checks, err := f.open()
			if err != nil {
				return err
			}
			defer checks.Close()
			found, err := checks.File(cmd.Context(), source, variables, func(ctx context.Context, task wire.TaskCheck) (wire.TaskVerdict, error) {
				return askDriver(ctx, driver, task)
			})
			if err != nil {
				return err
			}
			if found.Access == wire.AccessLogin {
				problem, note := checkLogin(cmd.Context(), router)
				if problem != "" {
					found.Problems = append(found.Problems, problem)
				}
				if note != "" {
					found.Notes = append(found.Notes, note)
				}
			}
			report := appReport{found.Job, orNone(found.Problems), orNone(found.Notes)}
			if err := showReport(cmd.OutOrStdout(), report, f.asJSON); err != nil {
				return err
			}
			return complained(len(report.Problems))
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&vars, "var", nil, "variable of the job, NAME=VALUE; can be repeated")
	flags.StringArrayVar(&varFiles, "var-file", nil, "file with variables of the job; can be repeated")
	flags.StringVar(&router, "router", "", "URL of a router of the site, such as https://play.example, to ask it for its login")
	flags.StringVar(&driver, "driver", "", "the program nomad-driver-stream (default: beside nearcast, then in PATH)")
	return cmd
}

// checkLogin says whether the routers of a site can log people in.
func checkLogin(ctx context.Context, router string) (problem, note string) {
	if router == "" {
		return "", `access = "login" needs routers with a login provider (--oidc-issuer), which was not checked: name one with --router`
	}
	var sites wire.SitesResponse
	if err := askRouter(ctx, http.MethodGet, router, "/v1/sites", "", &sites); err != nil {
		return "", fmt.Sprintf("whether the routers have a login provider was not checked: %v", err)
	}
	if !sites.Login {
		return fmt.Sprintf(`access = "login", and the router of %s has no login provider (--oidc-issuer): only launch tokens launch the app there`, sites.Entry), ""
	}
	return "", ""
}

func readJob(stdin io.Reader, path string) (string, error) {
	var text []byte
	var err error
	if path == "-" {
		text, err = io.ReadAll(stdin)
	} else {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return "", fmt.Errorf("read the job: %w", err)
	}
	return string(text), nil
}

// variablesOf is the content of a file of variables, as Nomad's API takes it.
func variablesOf(vars, files []string) (string, error) {
	var out strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("--var-file: %w", err)
		}
		out.Write(text)
		out.WriteByte('\n')
	}
	for _, pair := range vars {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return "", fmt.Errorf("--var has to be NAME=VALUE, not %q", pair)
		}
		fmt.Fprintf(&out, "%s = %s\n", name, cloud.Literal(value))
	}
	return out.String(), nil
}

// askDriver has the driver's own program check a task.
func askDriver(ctx context.Context, named string, task wire.TaskCheck) (v wire.TaskVerdict, err error) {
	program, err := findDriver(named)
	if err != nil {
		return v, err
	}
	in, err := json.Marshal(task)
	if err != nil {
		return v, err
	}
	cmd := exec.CommandContext(ctx, program, wire.CheckArg)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &v)
	}
	if err != nil {
		return v, fmt.Errorf("%s %s: %w; is it of this release?", program, wire.CheckArg, err)
	}
	return v, nil
}

func findDriver(named string) (string, error) {
	const name = "nomad-driver-stream"
	if named != "" {
		return exec.LookPath(named)
	}
	if self, err := os.Executable(); err == nil {
		for _, dir := range []string{".", "plugins"} {
			if found, err := exec.LookPath(filepath.Join(filepath.Dir(self), dir, name)); err == nil {
				return found, nil
			}
		}
	}
	found, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is neither beside nearcast nor in PATH: name it by --driver", name)
	}
	return found, nil
}

func showReport(w io.Writer, r appReport, asJSON bool) error {
	if asJSON {
		return printJSON(w, r)
	}
	for _, problem := range r.Problems {
		fmt.Fprintf(w, "problem: %s\n", problem)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", note)
	}
	if len(r.Problems) == 0 {
		fmt.Fprintf(w, "%s: nothing is wrong\n", r.Job)
	}
	return nil
}
