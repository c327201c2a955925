package nomad

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/internal/wire"
)

// defaultDrain is how long sessions may go on in a drain.
const defaultDrain = time.Hour

// Order implements console.Nomad.
func (c *Client) Order(ctx context.Context, role wire.ConsoleRole, site, node string, order wire.ConsoleNodeOrder) (err error) {
	nodes := c.roles[role].Nodes()
	switch order.Action {
	case wire.ActDrain:
		deadline := time.Duration(order.DeadlineS) * time.Second
		if deadline == 0 {
			deadline = defaultDrain
		}
		_, err = nodes.UpdateDrainOpts(node, &api.DrainOptions{DrainSpec: &api.DrainSpec{Deadline: deadline}, Meta: map[string]string{"by": "nearcast console"}}, to(ctx, site))
	case wire.ActKeep:
		_, err = nodes.ToggleEligibility(node, false, to(ctx, site))
	case wire.ActFree:
		_, err = nodes.UpdateDrainOpts(node, &api.DrainOptions{MarkEligible: true}, to(ctx, site))
	}
	if err != nil {
		return said(fmt.Errorf("order node %s: %w", node, err), role)
	}
	return nil
}

// current reads an app's job. Its version has to be the one that the person saw.
func (c *Client) current(ctx context.Context, site, app string, saw uint64) (*api.Job, error) {
	q := at(ctx, site)
	q.AllowStale = false
	job, _, err := c.viewer().Jobs().Info(app, q)
	if err != nil {
		return nil, said(fmt.Errorf("read job %s: %w", app, err), wire.RoleViewer)
	}
	if deref(job.Version) != saw {
		return nil, changed()
	}
	return job, nil
}

// Scale implements console.Nomad. Warm and max are in the meta of the app's job, so this is a new
// version of it: its idle seats are replaced, sessions go on.
func (c *Client) Scale(ctx context.Context, role wire.ConsoleRole, site, app string, scale wire.ConsoleScale) (out wire.ConsolePublished, err error) {
	job, err := c.current(ctx, site, app, scale.Version)
	if err != nil {
		return out, err
	}
	if job.Meta = maps.Clone(job.Meta); job.Meta == nil {
		job.Meta = map[string]string{}
	}
	for name, value := range map[string]*int{"warm": scale.Warm, "max": scale.Max} {
		if value != nil {
			job.Meta[name] = strconv.Itoa(*value)
		}
	}
	return c.register(ctx, role, site, job, &api.RegisterOptions{EnforceIndex: true, ModifyIndex: deref(job.JobModifyIndex)})
}

// Revert implements console.Nomad.
func (c *Client) Revert(ctx context.Context, role wire.ConsoleRole, site, app string, revert wire.ConsoleRevert) (out wire.ConsolePublished, err error) {
	if _, err := c.current(ctx, site, app, revert.Version); err != nil {
		return out, err
	}
	res, _, err := c.roles[role].Jobs().Revert(app, revert.To, &revert.Version, to(ctx, site), "", "")
	if err != nil {
		return out, said(fmt.Errorf("revert %s: %w", app, err), role)
	}
	return c.registered(ctx, site, app, res.Warnings)
}

// Publish implements console.Nomad. A job that is no app is not registered.
func (c *Client) Publish(ctx context.Context, role wire.ConsoleRole, site string, p wire.ConsolePublish) (out wire.ConsolePublished, err error) {
	job, err := c.parse(role, p)
	if err != nil {
		return out, err
	}
	out.App = deref(job.ID)
	if out.Problems, err = c.check(job); err != nil {
		return out, fmt.Errorf("check job: %w", err)
	}
	if ns := deref(job.Namespace); ns != c.namespace {
		out.Problems = append(out.Problems, fmt.Sprintf("namespace = %q: apps are in %q", ns, c.namespace))
	}
	if region := deref(job.Region); region != "" && region != api.GlobalRegion && region != site {
		out.Problems = append(out.Problems, fmt.Sprintf("region = %q: this is published at %q", region, site))
	}
	if strings.Contains(out.App, "/") {
		out.Problems = append(out.Problems, "an app's name has no slash")
	}
	if len(out.Problems) > 0 {
		return out, nil
	}
	job.Region = &site
	if !p.DryRun {
		opts := &api.RegisterOptions{}
		if !isJSON(p.Job) {
			opts.Submission = &api.JobSubmission{Source: p.Job, Format: "hcl2"}
		}
		return c.register(ctx, role, site, job, opts)
	}
	planned, _, err := c.roles[role].Jobs().Plan(job, false, to(ctx, site))
	if err != nil {
		return out, said(fmt.Errorf("plan %s: %w", out.App, err), role)
	}
	out.Warnings = planned.Warnings
	if now, _, err := c.viewer().Jobs().Info(out.App, at(ctx, site)); err == nil {
		out.Version = deref(now.Version) + 1
	}
	return out, nil
}

func (c *Client) register(ctx context.Context, role wire.ConsoleRole, site string, job *api.Job, opts *api.RegisterOptions) (out wire.ConsolePublished, err error) {
	out.App = deref(job.ID)
	res, _, err := c.roles[role].Jobs().RegisterOpts(job, opts, to(ctx, site))
	if err != nil {
		return out, said(fmt.Errorf("register %s: %w", out.App, err), role)
	}
	return c.registered(ctx, site, out.App, res.Warnings)
}

// registered says which version an app has now.
func (c *Client) registered(ctx context.Context, site, app, warnings string) (out wire.ConsolePublished, err error) {
	q := at(ctx, site)
	q.AllowStale = false
	job, _, err := c.viewer().Jobs().Info(app, q)
	if err != nil { // it was done all the same, and the audit log is to say so
		return out, wire.Problem{Type: wire.ProblemUnavailable, Title: "Nomad has taken it, and does not say its version", Status: http.StatusBadGateway, Detail: "Look at the app again."}
	}
	return wire.ConsolePublished{App: app, Version: deref(job.Version), Warnings: warnings}, nil
}

func isJSON(text string) bool { return strings.HasPrefix(strings.TrimSpace(text), "{") }

// parse reads a job file, in HCL by Nomad.
func (c *Client) parse(role wire.ConsoleRole, p wire.ConsolePublish) (*api.Job, error) {
	if isJSON(p.Job) {
		var file struct{ Job *api.Job }
		if err := json.Unmarshal([]byte(p.Job), &file); err != nil || file.Job == nil {
			return nil, unreadable("/job", "It is no JSON with a job in Job, as nomad job run -json takes it.")
		}
		file.Job.Canonicalize()
		return file.Job, nil
	}
	variables, err := assignments(p.Variables)
	if err != nil {
		return nil, err
	}
	job, err := c.roles[role].Jobs().ParseHCLOpts(&api.JobsParseRequest{JobHCL: p.Job, Variables: variables, Canonicalize: true})
	if err != nil {
		return nil, said(fmt.Errorf("have Nomad parse the job: %w", err), role)
	}
	return job, nil
}

func unreadable(field, detail string) wire.Problem {
	return wire.Problem{Type: wire.ConsoleProblemJob, Title: "This is no job file", Status: http.StatusUnprocessableEntity, Field: field, Detail: detail}
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,63}$`)

// assignments are variables as a file of them has it: texts, in which nothing is evaluated.
func assignments(variables map[string]string) (string, error) {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		if !variableName.MatchString(name) {
			return "", unreadable("/variables", fmt.Sprintf("%.64q is no name of a variable.", name))
		}
		text, err := json.Marshal(variables[name])
		if err != nil {
			return "", fmt.Errorf("encode a variable: %w", err)
		}
		fmt.Fprintf(&b, "%s = %s\n", name, strings.NewReplacer("${", "$${", "%{", "%%{").Replace(string(text)))
	}
	return b.String(), nil
}
