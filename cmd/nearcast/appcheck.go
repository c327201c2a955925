package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/nomad/api"
	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/brain/nomad"
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
	var driver string
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Say all that brains and seats of a site would complain of in a job",
		Long: `Check a job file against a site, and register nothing. Nomad parses and plans the
job. The driver's own program checks the task's config as a node would: its names, kinds
and values. The job's meta is read as brains read it. The nodes are asked whether one is
large enough.

FILE is in HCL, as for nomad job run; - reads standard input. Nomad's API parses it: there,
functions that read files do not work.

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
			client, err := f.open()
			if err != nil {
				return err
			}
			defer client.Close()
			report, err := checkApp(cmd.Context(), client, f.namespace, source, variables, driver)
			if err != nil {
				return err
			}
			if err := showReport(cmd.OutOrStdout(), report, f.asJSON); err != nil {
				return err
			}
			return complained(len(report.Problems))
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&vars, "var", nil, "variable of the job, NAME=VALUE; can be repeated")
	flags.StringArrayVar(&varFiles, "var-file", nil, "file with variables of the job; can be repeated")
	flags.StringVar(&driver, "driver", "", "the program nomad-driver-stream (default: beside nearcast, then in PATH)")
	return cmd
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
		if !strings.HasPrefix(value, "[") && !strings.HasPrefix(value, "{") { // a list or an object
			value = strings.NewReplacer("${", "$${", "%{", "%%{").Replace(strconv.Quote(value))
		}
		fmt.Fprintf(&out, "%s = %s\n", name, value)
	}
	return out.String(), nil
}

func checkApp(ctx context.Context, client *api.Client, namespace, source, variables, driver string) (r appReport, err error) {
	r = appReport{Problems: []string{}, Notes: []string{}}
	job, err := client.Jobs().ParseHCLOpts(&api.JobsParseRequest{JobHCL: source, Variables: variables, Canonicalize: true})
	if err != nil {
		if status := new(api.UnexpectedResponseError); errors.As(err, status) && status.StatusCode() == 400 {
			r.Problems = append(r.Problems, "Nomad cannot parse the job: "+strings.TrimSpace(status.Body()))
			return r, nil
		}
		return r, fmt.Errorf("have Nomad parse the job: %w", err)
	}
	r.Job = deref(job.ID)
	if ns := cmp.Or(deref(job.Namespace), api.DefaultNamespace); ns != namespace {
		r.Problems = append(r.Problems, fmt.Sprintf("namespace = %q: brains look for apps in %q", ns, namespace))
	}
	app, problems, err := nomad.CheckJob(job)
	if err != nil {
		return r, err
	}
	r.Problems = append(r.Problems, problems...)
	r.task(ctx, job, driver)
	r.plan(ctx, client, job)
	r.sizes(ctx, client, app.MHz, app.MemoryMB)
	return r, nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// task has the driver check the task.
func (r *appReport) task(ctx context.Context, job *api.Job, driver string) {
	if len(job.TaskGroups) == 0 || len(job.TaskGroups[0].Tasks) == 0 || job.TaskGroups[0].Tasks[0].Driver != "stream" {
		return
	}
	task := job.TaskGroups[0].Tasks[0]
	program, err := findDriver(driver)
	if err != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("the task's config was not checked: %v", err))
		return
	}
	config, err := json.Marshal(task.Config)
	if err == nil {
		config, err = json.Marshal(wire.TaskCheck{Config: config, User: task.User, Params: job.Meta["params"]})
	}
	if err != nil {
		r.Problems = append(r.Problems, fmt.Sprintf("the task's config cannot be read: %v", err))
		return
	}
	cmd := exec.CommandContext(ctx, program, wire.CheckArg)
	cmd.Stdin = bytes.NewReader(config)
	out, err := cmd.Output()
	var verdict wire.TaskVerdict
	if err == nil {
		err = json.Unmarshal(out, &verdict)
	}
	if err != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("the task's config was not checked: %s %s: %v; is it of this release?", program, wire.CheckArg, err))
		return
	}
	for _, problem := range verdict.Problems {
		// brains read the job's params too
		if !slices.ContainsFunc(r.Problems, func(s string) bool {
			return strings.HasPrefix(s, "meta.params") && strings.HasPrefix(problem, "meta.params")
		}) {
			r.Problems = append(r.Problems, "task config: "+problem)
		}
	}
	r.Notes = append(r.Notes, verdict.Needs...)
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

// plan has Nomad say what it would do.
func (r *appReport) plan(ctx context.Context, client *api.Client, job *api.Job) {
	plan, _, err := client.Jobs().PlanOpts(job, &api.PlanOptions{}, (&api.WriteOptions{Namespace: deref(job.Namespace)}).WithContext(ctx))
	var status api.UnexpectedResponseError
	switch {
	case err == nil:
		if plan.Warnings != "" {
			r.Notes = append(r.Notes, "Nomad: "+strings.Join(strings.Fields(plan.Warnings), " "))
		}
	case errors.As(err, &status) && status.StatusCode() == 403:
		r.Notes = append(r.Notes, "Nomad did not plan the job: the token has no right to submit jobs here")
	default:
		r.Problems = append(r.Problems, "Nomad refuses the job: "+strings.TrimSpace(err.Error()))
	}
}

// sizes asks whether a node is large enough.
func (r *appReport) sizes(ctx context.Context, client *api.Client, mhz, memoryMB int) {
	nodes, _, err := client.Nodes().List((&api.QueryOptions{Params: map[string]string{"resources": "true"}}).WithContext(ctx))
	if err != nil {
		r.Notes = append(r.Notes, "whether a node is large enough was not checked: the token cannot see nodes")
		return
	}
	streams, mostMHz, mostMB := 0, 0, 0
	for _, n := range nodes {
		if d := n.Drivers["stream"]; d == nil || !d.Detected || n.NodeResources == nil {
			continue
		}
		streams++
		haveMHz, haveMB := int(n.NodeResources.Cpu.CpuShares), int(n.NodeResources.Memory.MemoryMB)
		if kept := n.ReservedResources; kept != nil {
			haveMHz, haveMB = haveMHz-int(kept.Cpu.CpuShares), haveMB-int(kept.Memory.MemoryMB)
		}
		mostMHz, mostMB = max(mostMHz, haveMHz), max(mostMB, haveMB)
	}
	switch {
	case streams == 0:
		r.Problems = append(r.Problems, "no node of the site has the driver stream")
	default:
		if mhz > mostMHz {
			r.Problems = append(r.Problems, fmt.Sprintf("no node is large enough: wants %d MHz, the largest has %d", mhz, mostMHz))
		}
		if memoryMB > mostMB {
			r.Problems = append(r.Problems, fmt.Sprintf("no node is large enough: wants %d MB of memory, the largest has %d", memoryMB, mostMB))
		}
	}
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
