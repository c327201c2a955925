package cloud

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nearcast/nearcast/jobs/platform"
)

// Job is a job's file with its variables.
type Job struct {
	Name      string // of the file's job, for words
	Source    string
	Variables []Variable
}

// Variable is one variable of a job: a name and an expression of HCL.
type Variable struct{ Name, Value string }

// Text is the content of a file of variables.
func (j Job) Text() string {
	var out strings.Builder
	for _, v := range j.Variables {
		fmt.Fprintf(&out, "%s = %s\n", v.Name, v.Value)
	}
	return out.String()
}

// set gives a variable a value in place of the one that it has.
func (j *Job) set(name, value string) {
	j.Variables = append(slices.DeleteFunc(j.Variables, func(v Variable) bool { return v.Name == name }), Variable{name, value})
}

// Declares reports whether a job's file has a variable.
func Declares(source, variable string) bool {
	return regexp.MustCompile(`(?m)^\s*variable\s+"?` + regexp.QuoteMeta(variable) + `"?\s*\{`).MatchString(source)
}

var escape = strings.NewReplacer("${", "$${", "%{", "%%{")

// Literal is a value of a command line as HCL: lists and objects as they are, all else as a
// string, which Nomad turns into a number or a truth value where the variable is one.
func Literal(value string) string {
	if strings.HasPrefix(value, "[") || strings.HasPrefix(value, "{") {
		return value
	}
	return escape.Replace(strconv.Quote(value))
}

// expression is a value of ours as HCL, which reads JSON.
func expression(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // strings, numbers and maps of them
	}
	return escape.Replace(string(text))
}

// Setting is what an operator wants other than by default: a variable of a job of the
// platform, at one site or all.
type Setting struct{ Site, Job, Name, Value string }

// platformJobs are the jobs of a site, in the order in which they start: names for TURN come
// from brains, so its servers are first.
var platformJobs = []string{"router", "turn", "brain", "autoscaler"}

// optionalJobs run where a setting names them.
var optionalJobs = []string{consoleJob, "observability"}

const consoleJob = "console"

// prefetchJob comes last: where it lacks its rights, the others run.
const prefetchJob = "prefetch"

var knownJobs = slices.Concat(platformJobs, optionalJobs, []string{prefetchJob})

// off are the settings of prefetch.every that turn the job off. Its file knows the same ones.
var off = []string{"0", "0s"}

// prefetches reports whether the job is prefetch, and is not turned off.
func (j Job) prefetches() bool {
	return j.Name == prefetchJob && !slices.ContainsFunc(j.Variables, func(v Variable) bool { return v.Name == "every" && slices.Contains(off, strings.Trim(v.Value, `"`)) })
}

// checkPrefetch refuses what would only fail at the site.
func (s Setting) checkPrefetch() error {
	if s.Job != prefetchJob || s.Name != "every" || slices.Contains(off, s.Value) {
		return nil
	}
	if d, err := time.ParseDuration(s.Value); err != nil || d <= 0 {
		return fmt.Errorf("the setting prefetch.every=%s has to be a time of more than 0, such as 10s; 0 turns the job off", s.Value)
	}
	return nil
}

var setting = regexp.MustCompile(`^(?:([a-z0-9-]+)/)?([a-z]+)\.([a-z_]+)=(.*)$`)

// ParseSettings reads settings of the form [SITE/]JOB.VARIABLE=VALUE.
func (o Outputs) ParseSettings(texts []string) (all []Setting, err error) {
	for _, text := range texts {
		m := setting.FindStringSubmatch(text)
		if m == nil {
			return nil, fmt.Errorf("the setting %q has to be [SITE/]JOB.VARIABLE=VALUE, such as router.options=[\"--residency=eu\"]", text)
		}
		s := Setting{m[1], m[2], m[3], m[4]}
		if s.Site != "" && !slices.Contains(o.Names(), s.Site) {
			return nil, fmt.Errorf("the setting %q is for site %q; there are: %s", text, s.Site, strings.Join(o.Names(), ", "))
		}
		if !slices.Contains(knownJobs, s.Job) {
			return nil, fmt.Errorf("the setting %q is for job %q; there are: %s", text, s.Job, strings.Join(knownJobs, ", "))
		}
		if !Declares(platform.Source(s.Job), s.Name) {
			return nil, fmt.Errorf("the setting %q: the job %s has no variable %s (see jobs/platform/%s.nomad.hcl)", text, s.Job, s.Name, s.Job)
		}
		if s.Name == "options" && json.Unmarshal([]byte(s.Value), new([]string)) != nil {
			return nil, fmt.Errorf("the setting %q: options are a list of strings as in JSON, such as [\"--residency=eu\"]", text)
		}
		if err := s.checkPrefetch(); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, o.checkConsole(all)
}

// checkConsole: there is one console, and it needs its URL.
func (o Outputs) checkConsole(settings []Setting) error {
	var sites []string
	named, url := false, false
	for _, s := range settings {
		if s.Job != consoleJob {
			continue
		}
		named, url = true, url || s.Name == "url"
		if s.Site != "" && !slices.Contains(sites, s.Site) {
			sites = append(sites, s.Site)
		}
	}
	switch {
	case len(sites) > 1:
		return fmt.Errorf("the settings name consoles at %s: one shows all sites, so name one of them", strings.Join(sites, ", "))
	case named && !url:
		return errors.New("the setting console.url is missing: the URL of the console for browsers, such as console.url=http://localhost:8070 for a tunnel")
	}
	return nil
}

// consoleSite is where the console runs: where a setting says, else at the primary site.
func (o Outputs) consoleSite(settings []Setting) string {
	for _, s := range settings {
		if s.Job == consoleJob && s.Site != "" {
			return s.Site
		}
	}
	return o.Primary().Name
}

// Jobs are the jobs of the platform at a site, with their variables.
func (o Outputs) Jobs(site Site, settings []Setting) (jobs []Job) {
	count := expression(site.EdgeNodes - 1) // a new version starts on the free one
	for _, name := range knownJobs {
		var mine []Setting
		for _, s := range settings {
			if s.Job == name && (s.Site == "" || s.Site == site.Name) {
				mine = append(mine, s)
			}
		}
		if slices.Contains(optionalJobs, name) && len(mine) == 0 || name == consoleJob && o.consoleSite(settings) != site.Name {
			continue
		}
		job := Job{Name: name, Source: platform.Source(name)}
		switch name {
		case "router":
			job.Variables = []Variable{{"count", count}, {"port", "8080"}, {"internal_port", "8090"}, {"url", expression(site.RouterURL)}}
		case "brain":
			job.Variables = []Variable{{"count", count}, {"port", "8081"}, {"internal_port", "8091"}, {"url", expression(site.BrainURL)}}
			if options := brainOptions(site, nil); len(options) > 0 {
				job.set("options", expression(options))
			}
		case "turn":
			if len(site.TURNURLs) == 0 {
				continue
			}
			job.Variables = []Variable{{"count", count}, {"realm", expression(o.Domain())}}
			if site.TURNPorts != "" {
				job.set("relay_ports", expression(site.TURNPorts))
			}
		case "autoscaler":
			if len(site.Pools) == 0 {
				continue
			}
			job.Variables = []Variable{{"pools", expression(site.Pools)}}
		}
		for _, s := range mine {
			value := Literal(s.Value)
			var more []string
			if name == "brain" && s.Name == "options" && json.Unmarshal([]byte(s.Value), &more) == nil {
				value = expression(brainOptions(site, more))
			}
			job.set(s.Name, value)
		}
		jobs = append(jobs, job)
	}
	return jobs
}

// brainOptions are those that follow from the outputs, and then the operator's: TURN servers, and
// where events for webhooks are kept, if the operator says nothing of it.
func brainOptions(site Site, more []string) []string {
	options := []string{}
	for _, u := range site.TURNURLs {
		options = append(options, "--turn="+u)
	}
	says := slices.ContainsFunc(more, func(o string) bool { return o == "--events" || strings.HasPrefix(o, "--events=") })
	if site.SystemBucket != "" && !says {
		options = append(options, fmt.Sprintf("--events=s3://%s/events?region=%s", site.SystemBucket, site.Name))
	}
	return append(options, more...)
}
