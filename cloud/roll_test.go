package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// fakeCloud stands for the account at a site. A replacement is at 50 % at the first look, and
// complete at the second.
type fakeCloud struct {
	site      string
	log       *[]string
	last      map[string]Refresh
	fails     map[string]string  // by group: how its replacement ends
	stale     map[string]Refresh // what the account says once more after another one began
	during    func(group string)
	began     func(group string)
	cancelled string
	reasons   map[string][]Reason // by group
	objects   map[string]int64
	backups   map[string]map[string]time.Time
	templates map[string]*Template
	count     int // of replacements
}

func (f *fakeCloud) Group(context.Context, string) (Group, error) { return Group{}, nil }
func (f *fakeCloud) Reasons(_ context.Context, _, group string, _ time.Time) ([]Reason, error) {
	return f.reasons[group], nil
}
func (f *fakeCloud) Backups(_ context.Context, bucket string) (map[string]time.Time, error) {
	if f.backups[bucket] == nil {
		return nil, errors.New(bucket + " is in another region")
	}
	return f.backups[bucket], nil
}
func (f *fakeCloud) Objects(context.Context, string, time.Time, int) (map[string]int64, error) {
	return f.objects, nil
}
func (f *fakeCloud) Refresh(_ context.Context, group string, how Preferences) (string, error) {
	*f.log = append(*f.log, fmt.Sprintf("%s %s %d%%", f.site, group, how.First))
	if f.began != nil {
		f.began(group)
	}
	f.count++
	id := fmt.Sprintf("new-%d", f.count)
	f.stale[group], f.last[group] = f.last[group], Refresh{ID: id, Status: "Pending"}
	return id, nil
}
func (f *fakeCloud) Last(_ context.Context, group string) (Refresh, error) {
	if before, ok := f.stale[group]; ok {
		delete(f.stale, group)
		return before, nil
	}
	now := f.last[group]
	if f.during != nil && now.Going() {
		f.during(group)
	}
	switch now.Status {
	case "Pending":
		f.last[group] = Refresh{ID: now.ID, Status: "InProgress", Percent: 50}
	case "InProgress":
		f.last[group] = Refresh{ID: now.ID, Status: "Successful", Percent: 100}
		if how := f.fails[group]; how != "" {
			f.last[group] = Refresh{ID: now.ID, Status: "Failed", Reason: how}
		} else if f.during != nil {
			f.last[group] = now // for ever
		}
		if t := f.templates[group]; t != nil && f.last[group].Status == "Failed" {
			t.Nodes = map[int]int{t.Version - 1: 2, t.Version: 1}
		} else if t != nil && f.last[group].Status == "Successful" {
			t.Nodes = map[int]int{t.Version: 3}
		}
	}
	return now, nil
}
func (f *fakeCloud) Cancel(_ context.Context, group string) error {
	f.cancelled = group
	f.last[group] = Refresh{ID: f.last[group].ID, Status: "Cancelled"}
	return nil
}
func (f *fakeCloud) Template(_ context.Context, group string) (Template, error) {
	if t := f.templates[group]; t != nil {
		return *t, nil
	}
	return Template{}, nil
}
func (f *fakeCloud) UseTemplate(_ context.Context, group string, version int) error {
	if f.last[group].Going() {
		return errors.New("a replacement goes on")
	}
	*f.log = append(*f.log, fmt.Sprintf("%s %s version %d", f.site, group, version))
	f.templates[group].Version = version
	return nil
}

func newRoll(t *testing.T) (*Cluster, map[string]*fakeSite, map[string]*fakeCloud, *[]string) {
	t.Helper()
	c, sites, _ := newCluster(t)
	log := &[]string{}
	clouds := map[string]*fakeCloud{}
	for _, name := range c.Outputs.Names() {
		clouds[name] = &fakeCloud{site: name, log: log, last: map[string]Refresh{}, stale: map[string]Refresh{}, fails: map[string]string{}, reasons: map[string][]Reason{}}
	}
	c.Cloud = func(site string) (Cloud, error) { return clouds[site], nil }
	return c, sites, clouds, log
}

func TestRoll(t *testing.T) {
	c, _, clouds, log := newRoll(t)
	if err := c.Roll(t.Context(), RollOptions{Sites: c.Outputs.Sites}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a-1 n-server 34%", "a-1 n-edge 34%", "b-1 n-server 34%", "b-1 n-edge 34%", "b-1 n-stream-cpu 10%"}; !slices.Equal(*log, want) {
		t.Errorf("replaced: %q", *log)
	}
	*log = nil
	clouds["a-1"].last["n-server"] = Refresh{ID: "of before", Status: "InProgress"} // of a command that was killed
	// It may have begun before the latest release, so another one follows.
	if err := c.Roll(t.Context(), RollOptions{Sites: c.Outputs.Sites[:1], Roles: []string{"server"}}); err != nil || !slices.Equal(*log, []string{"a-1 n-server 34%"}) {
		t.Errorf("a replacement that goes on: %v, began %q", err, *log)
	}
	if err := c.Roll(t.Context(), RollOptions{Roles: []string{"stream-gpu"}}); err == nil || !strings.Contains(err.Error(), "name no group") {
		t.Errorf("without a group: %v", err)
	}
}

// TestRollBlind: a replacement ends the server of the tunnel. It goes on when another tunnel is there
// in time, and is cancelled otherwise.
func TestRollBlind(t *testing.T) {
	for _, looks := range []int{blindLooks / 2, 10 * blindLooks} {
		c, sites, clouds, _ := newRoll(t)
		left := looks
		clouds["a-1"].during = func(string) {
			s := sites["a-1"]
			s.mu.Lock()
			defer s.mu.Unlock()
			s.silent = &url.Error{Op: "Get", URL: "http://127.0.0.1:8500", Err: errors.New("connection refused")}
			if left--; left < 0 {
				s.silent, clouds["a-1"].during = nil, nil
			}
		}
		err := c.Roll(t.Context(), RollOptions{Sites: c.Outputs.Sites[:1], Roles: []string{"server"}, Within: 20 * time.Second})
		if cancelled := clouds["a-1"].cancelled != ""; cancelled != (looks > blindLooks) || cancelled != (err != nil) {
			t.Errorf("%d looks without an answer: cancelled %t, %v", looks, cancelled, err)
		}
	}
}

// TestRollStops: nothing is replaced after the first fault.
func TestRollStops(t *testing.T) {
	for name, fault := range map[string]struct {
		spoil     func(map[string]*fakeSite, map[string]*fakeCloud)
		want      string
		began     int
		cancelled string
	}{
		"another site is not whole": {func(s map[string]*fakeSite, _ map[string]*fakeCloud) { s["b-1"].servers[1].Healthy = false }, "nothing was replaced: b-1: Consul: servers are not healthy: server-2", 0, ""},
		"a release does not come up": {func(_ map[string]*fakeSite, c map[string]*fakeCloud) {
			c["a-1"].fails["n-server"] = "the alarm n-servers went off"
		},
			"a-1: server: the replacement ended as Failed: the alarm n-servers went off. Nothing after it was replaced", 1, ""},
		"a server is lost meanwhile": {func(s map[string]*fakeSite, c map[string]*fakeCloud) {
			c["a-1"].during = func(string) {
				s["a-1"].mu.Lock()
				defer s["a-1"].mu.Unlock()
				s["a-1"].servers[2].Healthy = false
			}
		}, "servers are in danger: Consul: 2 of 3 servers are healthy", 1, "n-server"},
		"a new node does not become ready": {func(_ map[string]*fakeSite, c map[string]*fakeCloud) {
			old := Reason{Instance: "i-0", Text: "2026-01-01T00:00:00Z i-0 of n-edge in b-1 Nomad is not ready"}
			c["b-1"].reasons["n-edge"] = []Reason{old}
			c["b-1"].began = func(group string) {
				if group == "n-edge" {
					c["b-1"].during = func(string) {
						goesOn := Reason{Instance: "i-1", Text: "the mirror is away"} // what user data said
						later := Reason{Instance: "i-2", Text: "2026-01-02T00:00:00Z i-2 of n-edge in b-1 Nomad is not ready"}
						if len(c["b-1"].reasons["n-edge"]) == 1 {
							c["b-1"].reasons["n-edge"] = []Reason{goesOn, old}
						} else {
							c["b-1"].reasons["n-edge"] = []Reason{later, goesOn, old}
						}
					}
				}
			}
		}, "b-1: edge: the node i-2 was given up: 2026-01-02T00:00:00Z i-2 of n-edge in b-1 Nomad is not ready; the replacement is cancelled", 4, "n-edge"},
		"it takes too long": {func(_ map[string]*fakeSite, c map[string]*fakeCloud) {
			c["a-1"].during = func(string) {} // for ever
		}, "a-1: server: server did not come in time: 50 % are replaced (InProgress) ; the replacement is cancelled", 1, "n-server"},
	} {
		c, sites, clouds, log := newRoll(t)
		fault.spoil(sites, clouds)
		within := 20 * time.Second
		if name == "it takes too long" {
			within = 500 * time.Millisecond
		}
		err := c.Roll(t.Context(), RollOptions{Sites: c.Outputs.Sites, Within: within})
		cancelled := clouds["a-1"].cancelled + clouds["b-1"].cancelled
		if err == nil || !strings.Contains(err.Error(), fault.want) || len(*log) != fault.began || cancelled != fault.cancelled {
			t.Errorf("%s: %v; began %q, cancelled %q", name, err, *log, cancelled)
		}
	}
	c, _, _ := newCluster(t)
	if err := c.Roll(t.Context(), RollOptions{}); err == nil {
		t.Error("nodes are replaced without an account")
	}
}

func TestPromotion(t *testing.T) {
	c, sites, clouds, _ := newRoll(t)
	c.Outputs.Sites[1].ContentBucket = "content-b"
	if p, err := c.Promotion(t.Context(), c.Outputs.Sites[1], false); err != nil || len(p.Blocked) > 0 || !strings.Contains(strings.Join(p.Steps, "\n"), "2. The servers of b-1 are replaced") {
		t.Errorf("%+v, %v", p, err)
	}
	sites["b-1"].variables[routerVariable] = nil
	sites["b-1"].servers = sites["b-1"].servers[:2]
	clouds["a-1"].objects = map[string]int64{"x": 1}
	p, err := c.Promotion(t.Context(), c.Outputs.Sites[1], false)
	var problems []string
	for _, f := range p.Blocked {
		problems = append(problems, f.Problem)
	}
	if want := []string{"its servers are not whole", "the keys of tickets are not there", "content is missing there"}; err != nil || !slices.Equal(problems, want) {
		t.Errorf("%q, %v", problems, err)
	}
	if _, err := c.Promotion(t.Context(), c.Outputs.Sites[0], false); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("the primary site itself: %v", err)
	}
}

// TestPromote: the servers of the new primary site are replaced before all others, a lost site is left
// alone, and a replacement that fails stops all that comes after it.
func TestPromote(t *testing.T) {
	start := func() (*Cluster, map[string]*fakeCloud, *[]string) {
		c, sites, clouds, log := newRoll(t)
		swapped := strings.NewReplacer(`"b-1": {"primary": false`, `"b-1": {"primary": true`, `"a-1": {"primary": true`, `"a-1": {"primary": false`).Replace(twoSites)
		var err error
		if c.Outputs, err = ReadOutputs([]byte(swapped)); err != nil {
			t.Fatal(err)
		}
		for name := range sites {
			sites[name].follows = "a-1"
			clouds[name].began = func(group string) {
				if group == "n-server" {
					sites[name].follows = "b-1"
				}
			}
		}
		return c, clouds, log
	}
	c, _, log := start()
	if err := c.Promote(t.Context(), PromoteOptions{}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"b-1 n-server 34%", "a-1 n-server 34%", "b-1 n-edge 34%", "b-1 n-stream-cpu 10%", "a-1 n-edge 34%"}; !slices.Equal(*log, want) {
		t.Errorf("replaced: %q", *log)
	}
	c, _, log = start()
	c.Reach("a-1").Nomad.(*fakeSite).silent = errors.New("it is lost")
	if err := c.Promote(t.Context(), PromoteOptions{Lost: "a-1"}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"b-1 n-server 34%", "b-1 n-edge 34%", "b-1 n-stream-cpu 10%"}; !slices.Equal(*log, want) {
		t.Errorf("replaced: %q", *log)
	}
	c, clouds, log := start()
	clouds["b-1"].fails["n-server"] = "it does not come up"
	if err := c.Promote(t.Context(), PromoteOptions{}); err == nil || !strings.Contains(err.Error(), "it does not come up") || len(*log) != 1 {
		t.Errorf("after a failure: %v, replaced %q", err, *log)
	}
}
