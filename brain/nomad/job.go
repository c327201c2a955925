package nomad

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/params"
	"github.com/nearcast/nearcast/internal/sizing"
	"github.com/nearcast/nearcast/internal/wire"
)

// job is what is read of a job, from a query or an event.
type job struct {
	ID                          string
	ParentID                    string
	Type                        string
	NodePool                    string
	Stop                        bool
	Status                      string
	Version                     uint64
	Meta                        map[string]string
	Dispatched                  bool
	DispatchIdempotencyToken    string
	ParameterizedJob            *struct{}
	SubmitTime                  int64
	TaskGroups                  json.RawMessage // few jobs need it read; see task
	ModifyIndex, JobModifyIndex uint64
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

// wants is what a seat of the job wants of its node.
func (j job) wants() (mhz, memoryMB int) {
	var groups []struct {
		Tasks []struct {
			Resources struct{ CPU, MemoryMB int }
		}
	}
	if err := json.Unmarshal(j.TaskGroups, &groups); err != nil || len(groups) == 0 {
		return 0, 0
	}
	for _, t := range groups[0].Tasks {
		mhz, memoryMB = mhz+t.Resources.CPU, memoryMB+t.Resources.MemoryMB
	}
	return mhz, memoryMB
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
	wrong := func(format string, args ...any) {
		problem := fmt.Sprintf(format, args...)
		app.Problems = append(app.Problems, problem)
		c.log.Warn("a job's meta is wrong", "job", j.ID, "problem", problem)
	}
	number := func(key string, fallback int) int {
		text, ok := j.Meta[key]
		if !ok {
			return fallback
		}
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 0 {
			or := ""
			if key == "warm" {
				or = ` or "auto"`
			}
			wrong("meta.%s = %q: must be a whole number of 0 or more%s; %d counts instead", key, text, or, fallback)
			return fallback
		}
		return n
	}
	app.ID, app.Version, app.Title, app.Pool = j.ID, j.Version, j.Meta["title"], j.NodePool
	app.Description, app.Picture, app.Display = j.Meta["description"], j.Meta["picture"], display(config)
	app.Max = number("max", defaultMax)
	if wait, auto := warmWait(j, wrong); auto {
		app.WarmWait = wait
	} else {
		app.Warm = number("warm", 0)
	}
	app.MaxWhenQueued = maxWhenQueued(j, wrong)
	app.Access, app.Login = c.accessOf(j, wrong)
	app.MHz, app.MemoryMB = j.wants()
	declared, err := params.Parse(j.Meta[params.MetaKey])
	if err != nil {
		// Its seats fail to start, and say so too: see the driver.
		wrong("meta.params cannot be read, and the app takes none: %v", err)
	}
	app.Params = declared
	if app.Title == "" {
		app.Title = j.ID
	}
	if app.Warm > app.Max {
		wrong("meta.warm = %d is more than max = %d, which counts", app.Warm, app.Max)
	}
	if app.WarmWait > 0 && app.Max == 0 {
		wrong("meta.warm = \"auto\" keeps a seat warm, and max = 0 lets none start")
	}
	app.Warm = min(app.Warm, app.Max)
	return app, true
}

// defaultWarmWait is warm_wait of a job that says warm = "auto".
const defaultWarmWait = 0.01

// warmWait reads which share of people may wait for a seat to start, where the job leaves it to
// the brain how many seats are warm.
func warmWait(j job, wrong func(string, ...any)) (share float64, auto bool) {
	auto = strings.TrimSpace(j.Meta["warm"]) == "auto"
	text, ok := j.Meta["warm_wait"]
	if !ok {
		return defaultWarmWait, auto
	}
	if !auto {
		wrong("meta.warm_wait = %q counts only with warm = \"auto\"", text)
		return 0, false
	}
	share, err := sizing.ParseShare(text)
	if err != nil {
		wrong("meta.warm_wait = %q: %v; %v%% counts instead", text, err, 100*defaultWarmWait)
		return defaultWarmWait, true
	}
	return share, true
}

// defaultMaxWhenQueued is max_when_queued of a job that does not say it.
const defaultMaxWhenQueued = 15 * time.Minute

// maxWhenQueued reads the job's meta max_when_queued, a duration; "0" is no limit.
func maxWhenQueued(j job, wrong func(string, ...any)) time.Duration {
	text, ok := j.Meta["max_when_queued"]
	if !ok {
		return defaultMaxWhenQueued
	}
	d, err := time.ParseDuration(strings.TrimSpace(text))
	if err != nil || d < 0 || d > 0 && d < time.Second {
		wrong("meta.max_when_queued = %q: must be a duration of 1s or more, or \"0\"; %s counts instead", text, defaultMaxWhenQueued)
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
	fields := blockOf(config, "display")
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
