package dev

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// samples are objects of Bucket, and the files that they are made from. README.md in
// dev/samples says what they are, and their licences.
var samples = map[string]string{
	"models/engine.glb": "/usr/share/assimp/models/glTF2/2CylinderEngine-glTF-Binary/2CylinderEngine.glb",
}

// jobSuffix ends the name of a job file.
const jobSuffix = ".nomad.hcl"

// uploadSamples puts the sample content into Bucket. It warns about a sample that this
// machine does not have, and leaves it out: the seats of its app fail and say why.
func (c *Cluster) uploadSamples(ctx context.Context) error {
	if err := c.makeBucket(ctx); err != nil {
		return err
	}
	files := make(map[string]string)
	for key, file := range samples {
		files[key] = file
	}
	own := filepath.Join(c.root, "dev", "samples")
	entries, err := os.ReadDir(own)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() && filepath.Ext(e.Name()) != ".md" {
			files["models/"+e.Name()] = filepath.Join(own, e.Name())
		}
	}
	for _, key := range slices.Sorted(maps.Keys(files)) {
		err := c.Upload(ctx, key, files[key])
		if errors.Is(err, fs.ErrNotExist) {
			c.logger.Warn("a sample is missing; install its package (dev/samples/README.md names it)", "object", key, "file", files[key])
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sampleJobs are the job files of the source tree, by app.
func (c *Cluster) sampleJobs() (map[string]string, error) {
	files, err := filepath.Glob(filepath.Join(c.root, "jobs", "*"+jobSuffix))
	if err != nil {
		return nil, err
	}
	jobs := make(map[string]string)
	for _, file := range files {
		jobs[strings.TrimSuffix(filepath.Base(file), jobSuffix)] = file
	}
	return jobs, nil
}

// chooseSamples are the job files of the named apps, or of all.
func (c *Cluster) chooseSamples(names []string) (files []string, err error) {
	jobs, err := c.sampleJobs()
	if err != nil {
		return nil, err
	}
	if names == nil {
		names = slices.Sorted(maps.Keys(jobs))
	}
	for _, name := range names {
		file, ok := jobs[name]
		if !ok {
			return nil, fmt.Errorf("no sample app %q; there are: %s", name, strings.Join(slices.Sorted(maps.Keys(jobs)), ", "))
		}
		files = append(files, file)
	}
	return files, nil
}

// runSamples registers the sample apps.
func (c *Cluster) runSamples(ctx context.Context, files []string) error {
	for _, file := range files {
		if _, err := c.runSample(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

// RunSample registers a sample app by its name in jobs/ and returns its id.
func (c *Cluster) RunSample(ctx context.Context, name string) (string, error) {
	files, err := c.chooseSamples([]string{name})
	if err != nil {
		return "", err
	}
	return c.runSample(ctx, files[0])
}

func (c *Cluster) runSample(ctx context.Context, file string) (string, error) {
	vars, err := c.variables(file)
	if err != nil {
		return "", err
	}
	id, err := c.RunJob(ctx, file, vars)
	if err != nil {
		return "", err
	}
	c.logger.Info("app registered", "app", id, "job", file)
	return id, nil
}

var declaredVariable = regexp.MustCompile(`(?m)^\s*variable\s+"([^"]+)"`)

// variables are the values of a dev cluster for the variables that a job file
// declares. The rest keep their defaults.
func (c *Cluster) variables(file string) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	known := map[string]string{
		"datacenter": c.Site,
		"region":     c.Site,
		"bucket":     Bucket,
		"testapp":    filepath.Join(c.bin, "testapp"),
	}
	maps.Copy(known, c.vars)
	vars := make(map[string]string)
	for _, m := range declaredVariable.FindAllStringSubmatch(string(text), -1) {
		if value, ok := known[m[1]]; ok {
			vars[m[1]] = value
		}
	}
	return vars, nil
}

// WaitIdle returns when an app has an idle seat, and logs what its seats do until
// then. An empty name means each app with a warm pool.
func (c *Cluster) WaitIdle(ctx context.Context, app string) error {
	said := make(map[string]string)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	waiting := "for the router to know an app"
	for {
		apps, err := c.AppList(ctx)
		if err == nil {
			waiting = ""
			found := false
			for _, a := range apps.Apps {
				capacity := a.Sites[c.Site]
				if app != "" && a.ID != app || app == "" && capacity.Warm == 0 {
					continue
				}
				found = true
				what := describe(capacity)
				if said[a.ID] != what {
					said[a.ID] = what
					c.logger.Info(a.ID + ": " + what)
				}
				if capacity.Idle == 0 {
					waiting += fmt.Sprintf("for a seat of %s (%s) ", a.ID, what)
				}
			}
			if found && waiting == "" {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if err != nil {
				waiting += ": " + err.Error()
			}
			return fmt.Errorf("wait %s: %w", waiting, ctx.Err())
		}
	}
}

func describe(capacity wire.Capacity) string {
	if capacity.Failing != "" {
		return "seats fail to start: " + capacity.Failing
	}
	return fmt.Sprintf("%d idle, %d starting, %d busy", capacity.Idle, capacity.Starting, capacity.Busy)
}
