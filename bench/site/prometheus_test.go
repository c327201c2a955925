package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

const observability = "../../jobs/platform/observability/"

// prometheus is a real one, with the configuration, alerts and targets of observability.nomad.hcl.
type prometheus struct{ url string }

func startPrometheus(t *testing.T, s *site) prometheus {
	t.Helper()
	bin, promtool := testkit.Tool(t, "prometheus"), testkit.Tool(t, "promtool")
	dir := t.TempDir()
	for _, name := range []string{"prometheus.yml", "alerts.yml"} {
		text, err := os.ReadFile(observability + name)
		testkit.Must(t, err)
		testkit.Must(t, os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(string(text), "_interval: 15s", "_interval: 1s")), 0o600))
	}
	testkit.Must(t, os.WriteFile(filepath.Join(dir, "targets.yml"), targets(t, s), 0o600))
	if out, err := exec.CommandContext(t.Context(), promtool, "check", "config", filepath.Join(dir, "prometheus.yml")).CombinedOutput(); err != nil {
		t.Fatalf("promtool: %v: %s", err, out)
	}
	p := prometheus{"http://" + testkit.Address(t)}
	testkit.Start(t, exec.Command(bin, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+strings.TrimPrefix(p.url, "http://")))
	return p
}

// targets renders targets.yml.tmpl with what the real Consul has. Nomad does so with the engine of
// consul-template: here are those of its functions that the template has.
func targets(t *testing.T, s *site) []byte {
	t.Helper()
	text, err := os.ReadFile(observability + "targets.yml.tmpl")
	testkit.Must(t, err)
	type service struct {
		Address     string
		ServiceMeta map[string]string
	}
	made, err := template.New("targets").Funcs(template.FuncMap{
		"split":      func(by, text string) []string { return strings.Split(text, by) },
		"regexMatch": regexp.MatchString,
		"toJSON":     func(v any) (string, error) { out, err := json.Marshal(v); return string(out), err },
		"service": func(query string) (out []service, err error) {
			name, which, _ := strings.Cut(query, "|")
			if which != "any" {
				return nil, fmt.Errorf("%s: not all of them", query)
			}
			var list []struct {
				Node    struct{ Address string }
				Service struct {
					Address string
					Meta    map[string]string
				}
			}
			err = s.consul.get(s.ctx, "/v1/health/service/"+name, &list)
			for _, one := range list {
				out = append(out, service{cmp.Or(one.Service.Address, one.Node.Address), one.Service.Meta})
			}
			return out, err
		},
	}).Parse(string(text))
	testkit.Must(t, err)
	var out bytes.Buffer
	testkit.Must(t, made.Execute(&out, nil))
	return out.Bytes()
}

// ask reads a path of the API.
func (p prometheus) ask(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", res.Status, answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}

type series struct {
	Metric map[string]string
	Value  [2]any
}

// query gives the series that have a number.
func (p prometheus) query(ctx context.Context, expr string) (out []series, err error) {
	var data struct{ Result []series }
	if err := p.ask(ctx, "/api/v1/query?query="+url.QueryEscape(expr), &data); err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	for _, s := range data.Result {
		text, _ := s.Value[1].(string)
		if x, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(x) {
			out = append(out, s)
		}
	}
	return out, nil
}

// dashboardQueries are those of all panels, as Grafana would send them.
func dashboardQueries(t *testing.T) (out []string) {
	files, err := filepath.Glob(observability + "*.json")
	testkit.Must(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		testkit.Must(t, err)
		var board struct {
			Panels []struct{ Targets []struct{ Expr string } }
		}
		testkit.Must(t, json.Unmarshal(text, &board))
		for _, panel := range board.Panels {
			for _, target := range panel.Targets {
				out = append(out, strings.NewReplacer("$site", ".*", "$app", ".*", "$pool", ".*", "$__rate_interval", "1m", "[1h]", "[1m]").Replace(target.Expr))
			}
		}
	}
	if len(out) < 30 {
		t.Fatalf("%d queries of %q", len(out), files)
	}
	return out
}

var (
	metricName = regexp.MustCompile(`\b(?:(?:nearcast|process)_[a-z_]+|up)\b`)
	comparison = regexp.MustCompile(` [<>=]=? [0-9.]+\)?$`)
)

// rare are metrics that have no series before the thing has happened.
var rare = []string{"nearcast_brain_start_failures_total", "nearcast_brain_sick_seats_total"}

// TestPrometheus has a real Prometheus scrape real brains and a router, found in a real Consul. Every query
// of the dashboards has an answer, and every alert can be evaluated and has the metrics that it
// names.
func TestPrometheus(t *testing.T) {
	testkit.Tool(t, "consul")
	bin := t.TempDir()
	testkit.BuildAll(t, bin, "nearcast")
	ctx := testkit.Context(t, 2*time.Minute)
	s, err := open(ctx, filepath.Join(bin, "nearcast"), plan{brains: 2, routers: 1, apps: 1, seats: 16, lease: 5 * time.Second, start: 50 * time.Millisecond, measured: time.Second})
	testkit.Must(t, err)
	t.Cleanup(s.close)
	p := startPrometheus(t, s)
	testkit.UntilSeen(t, "all parts are scraped", func() (any, bool) {
		up, err := p.query(ctx, `up{site="dc1", instance=~"brain-1|brain-2|router-1", part=~"brain|router"} == 1`)
		return fmt.Sprint(up, err), err == nil && len(up) == 3
	})

	stay, leave := context.WithCancel(ctx)
	defer leave()
	people := s.gather(stay, 12, 100, func(int) *person {
		one := s.person(appName(0))
		one.play, one.stay, one.routed = true, true, true
		return one
	})
	testkit.Until(t, "their seats stream", func() bool { return s.seats.inState(wire.SeatStreaming) == len(people) })
	leaving := make(chan struct{})
	go func() { // sessions end and requests come while they are looked at
		defer close(leaving)
		for i := 0; pause(stay.Done(), time.Second); i++ {
			if i < 8 {
				people[i].goodbye(stay)
			}
			_ = s.lists(http.DefaultClient, s.routers[0])
		}
	}()
	defer func() { leave(); <-leaving }()

	t.Run("a session's id finds the lines of router and brain", func(t *testing.T) {
		v := people[0].view()
		var parts []string
		for _, one := range append([]*server{s.routers[0]}, s.brains...) {
			text, err := os.ReadFile(one.log)
			testkit.Must(t, err)
			for _, text := range strings.Split(strings.TrimSpace(string(text)), "\n") {
				var line struct{ Time, Level, Msg, Part, Site, Session, App, Seat string }
				if err := json.Unmarshal([]byte(text), &line); err != nil || line.Time == "" || line.Level == "" || line.Msg == "" || line.Part == "" {
					t.Errorf("%s: %v: %s", one.name, err, text)
				}
				if line.Session != v.session {
					continue
				}
				parts = append(parts, line.Part+" "+line.Msg)
				if line.Site != siteName || line.App != appName(0) || line.Part == "brain" && line.Seat != v.seat {
					t.Errorf("%s: %s", one.name, text)
				}
			}
		}
		if fmt.Sprint(parts) != "[router session placed brain granted]" {
			t.Errorf("found %q", parts)
		}
	})

	open := dashboardQueries(t)
	testkit.UntilSeen(t, "every query of the dashboards has an answer", func() (any, bool) {
		var left []string
		for _, q := range open {
			if got, err := p.query(ctx, q); err != nil || len(got) == 0 {
				left = append(left, fmt.Sprint(q, ": ", err))
			}
		}
		open = left[:len(left):len(left)]
		for i := range open {
			open[i] = strings.TrimSuffix(open[i], ": <nil>")
		}
		return strings.Join(left, "\n"), len(left) == 0
	})

	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Query, Health, LastError, State string }
		}
	}
	testkit.UntilSeen(t, "every alert is evaluated", func() (any, bool) {
		if err := p.ask(ctx, "/api/v1/rules", &rules); err != nil || len(rules.Groups) == 0 {
			return err, false
		}
		for _, r := range rules.Groups[0].Rules {
			if r.Health != "ok" {
				return r, false
			}
		}
		return nil, true
	})
	source, err := os.ReadFile("../../brain/metrics.go")
	testkit.Must(t, err)
	for _, r := range rules.Groups[0].Rules {
		for _, name := range metricName.FindAllString(r.Query, -1) {
			got, err := p.query(ctx, "count("+name+")")
			if err == nil && len(got) == 0 {
				for _, one := range rare {
					if name == one && strings.Contains(string(source), `"`+strings.TrimPrefix(one, "nearcast_brain_")+`"`) {
						got = append(got, series{})
					}
				}
			}
			if err != nil || len(got) == 0 {
				t.Errorf("%s: there is no %s (%v)", r.Name, name, err)
			}
		}
		if r.State == "firing" {
			t.Errorf("%s fires at a site where nothing is wrong", r.Name)
		}
		// Of what has not happened there is nothing to compare.
		quiet := strings.Contains(r.Query, "increase(") || strings.Contains(r.Query, `code=~"5..`)
		if strings.HasPrefix(r.Query, "absent(") {
			continue
		}
		if got, err := p.query(ctx, comparison.ReplaceAllString(r.Query, "")); err != nil || len(got) == 0 && !quiet {
			t.Errorf("%s compares nothing: %v", r.Name, err)
		}
	}
}
