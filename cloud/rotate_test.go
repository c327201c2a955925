package cloud

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/jobs/platform"
	"github.com/nearcast/nearcast/provision/secrets"
)

// fakeCluster stands for tokens, gossip keys and what nodes show. Both agents and both sites of the
// test have the same.
type fakeCluster struct {
	mu     sync.Mutex
	keep   *fakeKeep
	tokens map[string]bool
	gossip map[string]bool
	used   map[string]bool // gossip keys, of both pools
	nodes  []string        // keys by which nodes log in
	seats  int
	named  map[string]string
	calls  int    // that still succeed; negative is no limit
	shows  string // in place of the kept secrets
}

func (s *fakeCluster) may() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == 0 {
		return errKilled
	}
	s.calls--
	return nil
}
func (s *fakeCluster) Shown(context.Context) (map[string]map[string]string, error) {
	if s.shows != "" {
		return map[string]map[string]string{"server-1": {shownSecrets: s.shows}}, nil
	}
	return map[string]map[string]string{"server-1": {shownSecrets: secrets.Generation(s.keep.files)}}, nil
}
func (s *fakeCluster) HasToken(_ context.Context, secret string) (bool, error) {
	return s.tokens[secret], nil
}
func (s *fakeCluster) CopyToken(_ context.Context, old, secret string) error {
	if !s.tokens[old] {
		return errors.New("unknown token: " + old)
	}
	err := s.may()
	if err == nil {
		s.tokens[secret] = true
	}
	return err
}
func (s *fakeCluster) ManagementToken(_ context.Context, name string) (string, error) {
	if s.named[name] == "" {
		if err := s.may(); err != nil {
			return "", err
		}
		s.named[name] = fmt.Sprintf("made-%d", len(s.named))
		s.tokens[s.named[name]] = true
	}
	return s.named[name], nil
}
func (s *fakeCluster) DropToken(_ context.Context, secret, by string) error {
	if secret == by || !s.tokens[by] {
		return errors.New("by that token nothing is deleted")
	}
	err := s.may()
	if err == nil {
		delete(s.tokens, secret)
	}
	return err
}
func (s *fakeCluster) NodeKeys(_ context.Context, keys []string) error {
	err := s.may()
	if err == nil {
		s.nodes = keys
	}
	return err
}
func (s *fakeCluster) SeatsBefore(context.Context, time.Time) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seats = max(0, s.seats-1)
	return s.seats, nil
}
func (s *fakeCluster) GossipKeys(context.Context) (map[string]bool, error) {
	return maps.Clone(s.gossip), nil
}
func (s *fakeCluster) InstallGossipKey(_ context.Context, key string) error {
	err := s.may()
	if err == nil {
		s.gossip[key] = true
	}
	return err
}
func (s *fakeCluster) UseGossipKey(_ context.Context, key string) error {
	if !s.gossip[key] {
		return errors.New("not installed")
	}
	err := s.may()
	if err == nil {
		s.used[key] = true
	}
	return err
}
func (s *fakeCluster) RemoveGossipKey(_ context.Context, key string) error {
	if s.used[key] {
		return nil // by the other pool: this one has not got it
	}
	err := s.may()
	if err == nil {
		delete(s.gossip, key)
	}
	return err
}

type fakeKeep struct {
	files map[string]string
	world *fakeCluster
}

func (k *fakeKeep) Read(context.Context) (map[string]string, error) { return maps.Clone(k.files), nil }
func (k *fakeKeep) Write(_ context.Context, files map[string]string) error {
	err := k.world.may()
	if err == nil {
		k.files = maps.Clone(files)
	}
	return err
}
func (k *fakeKeep) Tell() string { return "" }

// TestRotate: each secret is replaced, also by a command that is killed before each of its writes;
// the old one is good until the new one is used everywhere, and gone at the end.
func TestRotate(t *testing.T) {
	made := makeSecrets(t)
	for _, way := range Rotations() {
		t.Run(way.Name, func(t *testing.T) {
			killed := 0
			for at := 0; ; at++ {
				w := newRotateWorld(t, made)
				w.world.calls, w.sites["a-1"].writes, w.sites["b-1"].writes = at, -1, -1
				before := maps.Clone(w.world.keep.files)
				err := w.c.Rotate(t.Context(), way.Name, w.o)
				if err == nil {
					if killed < 3 {
						t.Fatalf("it was killed at %d writes alone", killed)
					}
					break
				}
				if !errors.Is(err, errKilled) {
					t.Fatal(err)
				}
				killed++
				w.world.calls = -1
				if w.world.keep.files[StateFile] != "" {
					if _, err := w.c.RotationPlan(t.Context(), "other-"+way.Name, w.o); err == nil {
						t.Error("a plan of an unknown secret")
					}
				}
				if err := w.c.Rotate(t.Context(), way.Name, w.o); err != nil {
					t.Fatalf("killed before write %d, and run again: %v", at+1, err)
				}
				w.check(t, way.Name, before)
			}
		})
	}
}

func makeSecrets(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	_, err := secrets.Make(secrets.Config{Dir: dir, Sites: []string{"a-1", "b-1"}})
	testkit.Must(t, err)
	files, err := secrets.Read(dir)
	testkit.Must(t, err)
	return files
}

type rotateWorld struct {
	c     *Cluster
	sites map[string]*fakeSite
	world *fakeCluster
	o     RotateOptions
	said  *[]string
}

func newRotateWorld(t *testing.T, made map[string]string) *rotateWorld {
	t.Helper()
	files := maps.Clone(made)
	world := &fakeCluster{tokens: map[string]bool{}, gossip: map[string]bool{}, used: map[string]bool{}, named: map[string]string{}, calls: -1, seats: 3}
	world.keep = &fakeKeep{files, world}
	for name, text := range files {
		if strings.HasSuffix(name, ".token") {
			world.tokens[strings.TrimSpace(text)] = true
		}
	}
	for _, name := range gossipFiles {
		world.gossip[strings.TrimSpace(files[name])] = true
	}
	c, sites, said := newCluster(t)
	for _, site := range sites {
		site.fakeCluster = world
		site.variables[routerVariable] = map[string]string{"ticket_key": files[ticketKeyFile], "ticket_keys": files[ticketKeysFile], "operator_token": "old"}
		site.variables[turnVariable] = map[string]string{"secret": "old"}
		site.variables[brainVariable] = map[string]string{"turn_secret": "old", "ticket_keys": files[ticketKeysFile]}
		site.index[turnVariable] = 1
	}
	return &rotateWorld{c, sites, world, RotateOptions{Keep: world.keep, Settle: time.Nanosecond, now: later()}, said}
}

// later is a clock on which two days pass between two looks.
func later() func() time.Time {
	now := time.Now()
	return func() time.Time { now = now.Add(48 * time.Hour); return now }
}

// check looks at what a rotation has to leave.
func (w *rotateWorld) check(t *testing.T, name string, before map[string]string) {
	t.Helper()
	now := w.world.keep.files
	changed := []string{}
	for file, text := range now {
		if strings.HasPrefix(file, "rotation/") || file == alsoFile {
			t.Errorf("%s is left", file)
		}
		if text != before[file] {
			changed = append(changed, file)
		}
	}
	slices.Sort(changed)
	want := map[string][]string{
		"ticket-key": {ticketKeyFile, ticketKeysFile}, "gossip": gossipFiles, "consul-tokens": slices.Sorted(slices.Values(nodeTokens)), "management-tokens": managementFiles,
		"node-key": {nodeKeyFile}, "authority": {caKeyFile, caFile}, "turn": {}, "operator-token": {},
	}[name]
	if !slices.Equal(changed, want) {
		t.Errorf("it changed %v, want %v", changed, want)
	}
	for _, file := range changed {
		old, new := strings.TrimSpace(before[file]), strings.TrimSpace(now[file])
		if strings.HasSuffix(file, ".token") && (w.world.tokens[old] || !w.world.tokens[new]) {
			t.Errorf("%s: the old token is good: %t, the new one: %t", file, w.world.tokens[old], w.world.tokens[new])
		}
		if strings.HasSuffix(file, "gossip.key") && (w.world.gossip[old] || !w.world.gossip[new]) {
			t.Errorf("%s: gossip keys %v", file, w.world.gossip)
		}
	}
	if name == "node-key" {
		if key, err := secrets.PublicNodeKey(now[nodeKeyFile]); err != nil || !slices.Equal(w.world.nodes, []string{key}) {
			t.Errorf("nodes log in by %v, %v", w.world.nodes, err)
		}
	}
	for site, s := range w.sites {
		router, brain, turn := s.variables[routerVariable], s.variables[brainVariable], s.variables[turnVariable]
		if router["ticket_key"] != now[ticketKeyFile] || router["ticket_keys"] != now[ticketKeysFile] || brain["ticket_keys"] != now[ticketKeysFile] {
			t.Errorf("%s: ticket keys are others than those that are kept", site)
		}
		if fresh := name == "turn"; turn["secret"] == "old" == fresh || turn["secret"] != brain["turn_secret"] || turn["previous"] != "" {
			t.Errorf("%s: TURN has %v, brains %v", site, turn, brain["turn_secret"])
		}
		if fresh := name == "operator-token"; router["operator_token"] == "old" == fresh || strings.Contains(router["operator_token"], "\n") {
			t.Errorf("%s: the operators' token is %q", site, router["operator_token"])
		}
	}
}

// TestRotateBounds: nodes that never show the new secrets end the command, which says what to look at.
func TestRotateBounds(t *testing.T) {
	w := newRotateWorld(t, makeSecrets(t))
	w.world.shows, w.o.Within = "0123456789ab", 30*time.Millisecond
	err := w.c.Rotate(t.Context(), "authority", w.o)
	for _, want := range []string{"did not come in time", "server-1 show 0123456789ab, not ", "compare the names", "Run the command again"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	w.world.shows, w.o.Within = "", 0
	if err := w.c.Rotate(t.Context(), "authority", w.o); err != nil {
		t.Error("after the nodes have them: ", err)
	}
}

// TestSettle: brains use the new secret of TURN only after all TURN servers have started with it.
func TestSettle(t *testing.T) {
	source := platform.Source("turn")
	slowest := time.Duration(0)
	for _, name := range []string{"splay", "kill_timeout"} {
		found := regexp.MustCompile(name + `\s*= "([0-9a-z]+)"`).FindStringSubmatch(source)
		if found == nil {
			t.Fatalf("the job of TURN has no %s", name)
		}
		one, err := time.ParseDuration(found[1])
		testkit.Must(t, err)
		slowest += one
	}
	if slowest < 30*time.Second || DefaultSettle <= slowest {
		t.Errorf("TURN servers start again after up to %s, and the rotation waits %s", slowest, DefaultSettle)
	}
}

// TestRotateInterrupted: a rotation that the operator ends is none that is complete, also to a script.
func TestRotateInterrupted(t *testing.T) {
	w := newRotateWorld(t, makeSecrets(t))
	w.o.now, w.o.Overlap = time.Now, time.Hour
	ctx, interrupt := context.WithCancel(t.Context())
	w.c.Say = func(line string) {
		if strings.Contains(line, "stays good until") {
			interrupt()
		}
	}
	if err := w.c.Rotate(ctx, "gossip", w.o); !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
}

// TestAlone: one command at a time works, one that was killed blocks no other, and one whose note another
// replaced ends.
func TestAlone(t *testing.T) {
	c, sites, said := newCluster(t)
	c.Beat = 50 * time.Millisecond
	first, end, err := c.alone(t.Context(), "rotate gossip")
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []func() error{
		func() error { _, _, err := c.alone(t.Context(), "rotate turn"); return err },
		func() error { return c.Rotate(t.Context(), "turn", RotateOptions{}) },
		func() error { return c.Promote(t.Context(), PromoteOptions{}) },
	} {
		if err := at(); err == nil || !strings.Contains(err.Error(), "another command is at work: rotate gossip, by test, since ") {
			t.Errorf("a second command: %v", err)
		}
	}
	if first.Err() != nil {
		t.Error("the first command was ended")
	}
	end()
	_, end, err = c.alone(t.Context(), "rotate turn")
	if err != nil {
		t.Fatal("after the first one ended: ", err)
	}
	end()
	// Killed: the note stays as it is.
	sites["a-1"].note, sites["a-1"].noted = `{"what":"promote b-1","by":"bob@desk"}`, 99
	third, end, err := c.alone(t.Context(), "rotate turn")
	if err != nil || !strings.Contains(strings.Join(*said, "\n"), "promote b-1, by bob@desk") {
		t.Fatalf("after one that was killed: %v, %q", err, *said)
	}
	defer end()
	sites["a-1"].mu.Lock()
	sites["a-1"].note, sites["a-1"].noted = `{"id":"another"}`, 100
	sites["a-1"].mu.Unlock()
	select {
	case <-third.Done():
	case <-time.After(10 * time.Second):
	}
	if err := taken(third, third.Err()); !errors.Is(err, errTaken) {
		t.Errorf("after another one took over: %v", err)
	}
}

// TestRotateRefuses: what is in the way is said before anything is changed.
func TestRotateRefuses(t *testing.T) {
	w := newRotateWorld(t, makeSecrets(t))
	refused := func(name, want string) {
		t.Helper()
		before := maps.Clone(w.world.keep.files)
		if err := w.c.Rotate(t.Context(), name, w.o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
		if !maps.Equal(before, w.world.keep.files) {
			t.Errorf("%s: secrets changed", name)
		}
	}
	refused("password", "there are: ticket-key, gossip")
	w.sites["b-1"].servers[2].Healthy = false
	refused("gossip", "nothing was changed: b-1")
	w.sites["b-1"].servers[2].Healthy = true
	w.world.calls = 2
	if err := w.c.Rotate(t.Context(), "gossip", w.o); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	refused("turn", "finish it first: nearcast cloud rotate gossip")
	lines, err := w.c.RotationPlan(t.Context(), "gossip", w.o)
	if err != nil || !strings.HasPrefix(lines[1], "done 1.") || !strings.HasPrefix(lines[2], "     2.") {
		t.Errorf("the plan: %q, %v", lines, err)
	}
}
