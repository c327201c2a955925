package nomad

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/params"
	"github.com/nearcast/nearcast/internal/wire"
)

// job is what is read of a job, from a query or an event.
type job struct {
	ID                                       string
	ParentID                                 string
	Type                                     string
	Stop                                     bool
	Status                                   string
	Version                                  uint64
	Meta                                     map[string]string
	Dispatched                               bool
	DispatchIdempotencyToken                 string
	ParameterizedJob                         *struct{}
	SubmitTime                               int64
	TaskGroups                               json.RawMessage // few jobs need it read; see task
	CreateIndex, ModifyIndex, JobModifyIndex uint64
}

// task reads the driver of a job's first task, and its config.
func (j job) task() (driver string, config map[string]any) {
	var groups []struct {
		Tasks []struct {
			Driver string
			Config map[string]any
		}
	}
	if err := json.Unmarshal(j.TaskGroups, &groups); err != nil || len(groups) == 0 || len(groups[0].Tasks) == 0 {
		return "", nil
	}
	return groups[0].Tasks[0].Driver, groups[0].Tasks[0].Config
}

// app reads a job as an app. ok is false if the job is not an app.
func (c *Client) app(j job) (app brain.App, ok bool) {
	if j.ParameterizedJob == nil || j.Dispatched || j.Stop || j.Type != "batch" {
		return app, false
	}
	driver, config := j.task()
	if driver != c.driver {
		return app, false
	}
	number := func(key string, fallback int) int {
		text, ok := j.Meta[key]
		if !ok {
			return fallback
		}
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 0 {
			c.log.Warn("a job's meta is not a number of 0 or more; using the default", "job", j.ID, "meta", key, "value", text, "default", fallback)
			return fallback
		}
		return n
	}
	app = brain.App{ID: j.ID, Version: j.Version, Title: j.Meta["title"], Description: j.Meta["description"],
		Picture: j.Meta["picture"], Warm: number("warm", 0), Max: number("max", defaultMax),
		Access: c.accessOf(j), MaxWhenQueued: c.maxWhenQueued(j), Display: display(config)}
	declared, err := params.Parse(j.Meta[params.MetaKey])
	if err != nil {
		// Its seats fail to start, and say so too: see the driver.
		c.log.Warn("a job's meta declares parameters that cannot be read; the app takes none", "job", j.ID, "error", err)
	}
	app.Params = declared
	if app.Title == "" {
		app.Title = j.ID
	}
	app.Warm = min(app.Warm, app.Max)
	return app, true
}

// accessOf says who may launch an app. A value that is misspelt must not make an
// app public.
func (c *Client) accessOf(j job) wire.Access {
	text, ok := j.Meta["access"]
	switch access := wire.Access(strings.TrimSpace(text)); {
	case !ok:
		return c.access
	case access == wire.AccessPublic, access == wire.AccessSigned:
		return access
	}
	c.log.Warn("a job's meta is neither public nor signed; a launch needs a launch token", "job", j.ID, "meta", "access", "value", text)
	return wire.AccessSigned
}

// defaultMaxWhenQueued is max_when_queued of a job that does not say it.
const defaultMaxWhenQueued = 15 * time.Minute

// maxWhenQueued reads the job's meta max_when_queued, a duration; "0" is no limit.
func (c *Client) maxWhenQueued(j job) time.Duration {
	text, ok := j.Meta["max_when_queued"]
	if !ok {
		return defaultMaxWhenQueued
	}
	d, err := time.ParseDuration(strings.TrimSpace(text))
	if err != nil || d < 0 || d > 0 && d < time.Second {
		c.log.Warn("a job's meta is not a duration of 1s or more, or 0; using the default", "job", j.ID, "meta", "max_when_queued", "value", text, "default", defaultMaxWhenQueued)
		return defaultMaxWhenQueued
	}
	return d
}

// display reads the display block of a task's config, which in JSON is an object
// or a list of one. The defaults are the driver's.
func display(config map[string]any) wire.Display {
	d := wire.Display{Width: 1280, Height: 720, FPS: 30, Pointer: wire.PointerAuto, Audio: true}
	if audio, ok := config["audio"].(bool); ok {
		d.Audio = audio
	}
	block := config["display"]
	if list, ok := block.([]any); ok && len(list) > 0 {
		block = list[0]
	}
	fields, _ := block.(map[string]any)
	set := func(key string, to *int) {
		switch v := fields[key].(type) {
		case float64:
			*to = int(v)
		case string: // HCL takes "1280" as a number too
			if n, err := strconv.Atoi(v); err == nil {
				*to = n
			}
		}
	}
	set("width", &d.Width)
	set("height", &d.Height)
	set("fps", &d.FPS)
	if p, ok := fields["pointer"].(string); ok && p != "" {
		d.Pointer = p
	}
	if audio, ok := fields["audio"].(bool); ok {
		d.Audio = audio
	}
	return d
}
