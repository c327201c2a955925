// Package facts carries what a site is and has from its routers to those of other
// sites: its apps with their capacity, its brains and routers, and its record.
//
// A Teller is at the site itself. It gives the facts a version, and knows what changed
// since each of the last versions. Versions follow from the facts alone, so that all
// routers of a site agree on them, also behind one address:
//
//	teller := facts.NewTeller("eu-west-1")
//	teller.Set(apps, brains, routers, info) // whenever they may have changed
//	answer, err := teller.Answer(have, zip) // what changed since that version, or everything
//
// The router of another site reads the answer and keeps a Copy. Answers come from
// strangers: Read bounds them, and refuses those of any site but the one that was asked.
//
//	answer, err := facts.Read("eu-west-1", text)
//	next, err := known.With(answer) // known does not change; nil is nothing known
package facts

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/nearcast/nearcast/internal/wire"
)

// versions is how many versions a Teller remembers. Who has an older one is told
// everything.
const versions = 4096

// Teller knows the facts of its own site. It may be used by many goroutines at once.
type Teller struct {
	site string

	mu      sync.Mutex
	said    map[string]wire.App // the map of the last Set: the same map is the same apps
	apps    map[string]known
	gone    map[string]uint64 // apps that the site had, and the step that removed them
	brains  []wire.Instance
	routers []wire.Instance
	info    wire.SiteInfo
	step    uint64 // counts changes
	version string
	steps   map[string]uint64 // of the last versions
	order   []string          // the last versions, oldest first
	answers answers

	encoding sync.Mutex // is taken before mu
}

// known is an app, the step in which it changed last, and the hash of its text.
type known struct {
	app  wire.App
	step uint64
	sum  [sha256.Size]byte
}

// NewTeller knows nothing of a site yet.
func NewTeller(site string) *Teller {
	return &Teller{site: site, apps: map[string]known{}, gone: map[string]uint64{}, steps: map[string]uint64{}}
}

// Set takes what is known of the site now. It is cheap where nothing changed. The
// caller changes neither the map nor the lists afterwards.
func (t *Teller) Set(apps map[string]wire.App, brains, routers []wire.Instance, info wire.SiteInfo) {
	brains, routers = outward(brains), outward(routers)
	t.mu.Lock()
	defer t.mu.Unlock()
	same := t.version != "" && reflect.ValueOf(apps).Pointer() == reflect.ValueOf(t.said).Pointer()
	if same && slices.Equal(brains, t.brains) && slices.Equal(routers, t.routers) && reflect.DeepEqual(info, t.info) {
		return
	}
	t.step++
	if !same {
		t.said = apps
		t.setApps(apps)
	}
	t.brains, t.routers, t.info = brains, routers, info
	t.name()
}

// setApps notes which apps changed. mu is held.
func (t *Teller) setApps(apps map[string]wire.App) {
	for id, app := range apps {
		if was, ok := t.apps[id]; ok && reflect.DeepEqual(was.app, app) {
			continue
		}
		text, err := json.Marshal(app)
		if err != nil {
			continue // a time that JSON cannot say: this app cannot be told
		}
		t.apps[id] = known{app: app, step: t.step, sum: sha256.Sum256(text)}
		delete(t.gone, id)
	}
	for id := range t.apps {
		if _, ok := apps[id]; !ok {
			delete(t.apps, id)
			t.gone[id] = t.step
		}
	}
}

// name gives the facts their version. mu is held.
func (t *Teller) name() {
	sum := sha256.New()
	for _, id := range slices.Sorted(maps.Keys(t.apps)) {
		of := t.apps[id].sum
		sum.Write(of[:])
	}
	_ = json.NewEncoder(sum).Encode(struct {
		Brains, Routers []wire.Instance
		Info            wire.SiteInfo
	}{t.brains, t.routers, t.info}) // a hash takes all that is written
	t.version, t.answers = hex.EncodeToString(sum.Sum(nil)[:16]), answers{}
	if _, ok := t.steps[t.version]; ok { // it was so before: that is the older one
		t.order = slices.DeleteFunc(t.order, func(v string) bool { return v == t.version })
	}
	t.steps[t.version] = t.step
	t.order = append(t.order, t.version)
	if len(t.order) <= versions {
		return
	}
	delete(t.steps, t.order[0])
	t.order = t.order[1:]
	oldest := t.steps[t.order[0]]
	maps.DeleteFunc(t.gone, func(_ string, step uint64) bool { return step <= oldest })
}

// Version names what is known now; empty before the first Set.
func (t *Teller) Version() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.version
}

// Since is what changed since a version, or everything where that one is not remembered.
func (t *Teller) Since(have string) wire.SiteFacts {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := wire.SiteFacts{
		Site: t.site, Version: t.version, Brains: t.brains, Routers: t.routers, Info: t.info, Apps: map[string]wire.App{},
	}
	step, ok := t.steps[have]
	if ok {
		out.Since = have
		for id, at := range t.gone {
			if at > step {
				out.GoneApps = append(out.GoneApps, id)
			}
		}
		slices.Sort(out.GoneApps)
	}
	for id, k := range t.apps {
		if !ok || k.step > step {
			out.Apps[id] = k.app
		}
	}
	return out
}

// outward is a list of instances as other sites may know it, in one order.
func outward(list []wire.Instance) []wire.Instance {
	out := make([]wire.Instance, len(list))
	for i, in := range list {
		out[i] = wire.Instance{ID: in.ID, Site: in.Site, URL: in.URL, Healthy: in.Healthy, Room: in.Room}
	}
	slices.SortFunc(out, func(a, b wire.Instance) int { return cmp.Compare(a.ID, b.ID) })
	return out
}
