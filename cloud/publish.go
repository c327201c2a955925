package cloud

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// App is the job of an app, to be registered at sites.
type App struct {
	Job Job
	// Check says what brains and seats of a site would complain of. Without it nothing is checked.
	Check func(ctx context.Context, site string, job Job) (problems, notes []string, err error)
	// Manifest names the version of the app's content, where it was uploaded.
	Manifest string
}

// Published is how it went at a site.
type Published struct {
	Site  string `json:"site"`
	App   string `json:"app,omitempty"`
	Words string `json:"words"`
	OK    bool   `json:"ok"`
}

// Publish registers an app's job at sites, each after its checks. A site that fails does not stop
// the others. The job's variables bucket and manifest, where it has them, become the site's
// bucket and the content's version, unless they are set.
func (c *Cluster) Publish(ctx context.Context, sites []Site, app App) []Published {
	results := map[string]Published{}
	var mu sync.Mutex
	c.each(sites, func(site Site) error {
		p, err := c.publishAt(ctx, site, app)
		p.Site, p.OK = site.Name, err == nil
		if err != nil {
			p.Words = err.Error()
		}
		mu.Lock()
		defer mu.Unlock()
		results[site.Name] = p
		return nil
	})
	var all []Published
	for _, site := range sites {
		all = append(all, results[site.Name])
	}
	return all
}

func (c *Cluster) publishAt(ctx context.Context, site Site, app App) (p Published, err error) {
	job := Job{Name: app.Job.Name, Source: app.Job.Source}
	for name, value := range map[string]string{"bucket": site.ContentBucket, "manifest": app.Manifest} {
		if value != "" && Declares(job.Source, name) {
			job.set(name, Literal(value))
		}
	}
	for _, v := range app.Job.Variables {
		job.set(v.Name, v.Value)
	}
	var notes []string
	if app.Check != nil {
		problems, said, err := app.Check(ctx, site.Name, job)
		if err != nil {
			return p, fmt.Errorf("check the job: %w", err)
		}
		if len(problems) > 0 {
			return p, errors.New(strings.Join(problems, "; "))
		}
		notes = said
	}
	nomad := c.Reach(site.Name).Nomad
	planned, err := nomad.Plan(ctx, job)
	if err != nil {
		return p, err
	}
	p.App = planned.ID
	switch {
	case planned.New:
		p.Words = "registered"
	case len(planned.Changes) == 0:
		p.Words = "nothing changes"
	default:
		p.Words = "a new version: " + strings.Join(planned.Changes, "; ")
	}
	for _, note := range notes {
		p.Words += "; note: " + note
	}
	if !planned.New && len(planned.Changes) == 0 {
		return p, nil
	}
	return p, nomad.Run(ctx, planned)
}
