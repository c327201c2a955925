package nomad

import (
	"context"
	"fmt"
	"net/http"

	"github.com/hashicorp/nomad/api"
)

// findNamespace reports that a namespace is missing. Nomad itself says
// nothing: it lists the jobs of a namespace that does not exist as none.
func (c *Client) findNamespace(ctx context.Context, name string) error {
	_, _, err := c.api.Namespaces().Info(name, query(ctx))
	another := ""
	if name == c.namespace {
		another = ", or name another (--namespace)"
	}
	switch {
	case err == nil:
		return nil
	case status(err) == http.StatusNotFound:
		return fmt.Errorf("find the namespace %[1]s: Nomad has no %[1]q: run acl/apply.sh, which makes it%[2]s", name, another)
	case status(err) == http.StatusForbidden:
		return fmt.Errorf("find the namespace %[1]s: the token has no rights in %[1]q: run acl/apply.sh, which gives them: %[2]w", name, err)
	}
	return fmt.Errorf("find the namespace %s: %w", name, err)
}

// misplaced warns about apps in the namespace default, where earlier releases had
// them: once for each job.
type misplaced struct {
	client *Client
	named  map[string]bool // jobs that were warned about
}

func (m *misplaced) look(ctx context.Context) {
	if m.client.namespace == api.DefaultNamespace {
		return
	}
	q := query(ctx)
	q.Namespace = api.DefaultNamespace
	// The list does not tell the driver, and the right to read whole jobs would be one to
	// read the platform's.
	q.Filter = `Type == "batch" and ParentID == "" and Status != "dead"`
	var jobs []stub
	if _, err := pages(m.client, "/v1/jobs", q, m.client.jobsPerPage, &jobs); err != nil {
		m.client.log.Debug("cannot look for apps in the namespace default", "error", err)
		return
	}
	for _, job := range jobs {
		if !job.ParameterizedJob || m.named[job.ID] {
			continue
		}
		m.named[job.ID] = true
		m.client.log.Warn("a parameterized job is in the namespace default; if it is an app, stop it there and run its job in the apps' namespace",
			"job", job.ID, "apps", m.client.namespace)
	}
}
