package router

import (
	"cmp"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router/placement"
	"github.com/nearcast/nearcast/router/placement/prefix"
	"github.com/nearcast/nearcast/router/placement/probe"
)

const (
	// firstAtOnce and nextAtOnce are how many sites a page is told to measure at
	// once where there are too many to race: in parallel they take no longer.
	firstAtOnce = 3
	nextAtOnce  = 2
	// modelEvery is how old a model becomes. Making one of many sites takes a
	// good part of a second, and ways between sites change seldom.
	modelEvery = 30 * time.Second
)

// advisor says which sites to measure. It keeps the model of what is known of
// the way between sites, and what people of a neighbourhood measured.
type advisor struct {
	prefixes *prefix.Store
	latest   atomic.Pointer[advice]
	making   sync.Mutex
	wg       sync.WaitGroup
}

// advice is a model and what it was made of.
type advice struct {
	model *probe.Model
	names []string
	made  time.Time
}

func newAdvisor() *advisor {
	a := &advisor{}
	a.prefixes = prefix.New(prefix.Config{Between: a.between})
	return a
}

// between is for the prefix store, which holds claims against it.
func (a *advisor) between(from, to string) (ms, off float64) {
	if latest := a.latest.Load(); latest != nil {
		if ms, ok := latest.model.RTT(from, to); ok {
			return ms, 0
		}
	}
	return math.NaN(), 0
}

// model is the model of a world. Only the first caller waits for one to be made;
// an old one is made anew while it is still used.
func (a *advisor) model(w *world) (*probe.Model, error) {
	latest := a.latest.Load()
	if latest == nil || !slices.EqualFunc(latest.names, w.view.Sites, func(name string, s Site) bool { return name == s.Name }) {
		a.making.Lock()
		defer a.making.Unlock()
		if again := a.latest.Load(); again != latest {
			return again.model, nil // somebody else was waited for
		}
		return a.make(w)
	}
	if time.Since(latest.made) > modelEvery && a.making.TryLock() {
		a.wg.Go(func() {
			defer a.making.Unlock()
			_, _ = a.make(w)
		})
	}
	return latest.model, nil
}

// make makes a model. a.making is held.
func (a *advisor) make(w *world) (*probe.Model, error) {
	names := make([]string, len(w.view.Sites))
	for i := range names {
		names[i] = w.view.Sites[i].Name
	}
	model, err := probe.New(names, w.between)
	if err != nil {
		return nil, err
	}
	a.latest.Store(&advice{model: model, names: names, made: time.Now()})
	return model, nil
}

// postProbes says which sites to measure next.
func (r *Router) postProbes(c echo.Context) error {
	object, err := readJSON(c.Request(), c.Response())
	if err != nil {
		return err
	}
	req, err := readProbes(object)
	if err != nil {
		return err
	}
	w, err := r.world()
	if err != nil {
		return err
	}
	if err := w.checkMeasured(req.RTTMS, "/rtt_ms"); err != nil {
		return err
	}
	if err := w.checkMeasured(req.SilentMS, "/silent_ms"); err != nil {
		return err
	}
	if err := w.checkSites(req.Failed, "/failed"); err != nil {
		return err
	}
	out, err := r.advise(w, c, probe.Asked{RTT: req.RTTMS, Silent: req.SilentMS, Failed: req.Failed, AtOnce: nextAtOnce})
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(http.StatusOK, out)
}

// firstProbes are the sites to measure to begin with: all of them where they are
// few, the likeliest to be near first.
func (r *Router) firstProbes(w *world, c echo.Context) ([]string, error) {
	if len(w.view.Sites) <= wire.MaxRace {
		return w.nearest(), nil
	}
	out, err := r.advise(w, c, probe.Asked{AtOnce: firstAtOnce})
	return out.Probe, err
}

// advise asks the model.
func (r *Router) advise(w *world, c echo.Context, asked probe.Asked) (wire.ProbeResponse, error) {
	model, err := r.advisor.model(w)
	if err != nil {
		return wire.ProbeResponse{}, err
	}
	// People come to a near router, as far as whoever sends them there can tell.
	asked.Entry, asked.EntryNear = r.cfg.Site, true
	for i := range w.sites {
		if w.sites[i].trouble != "" {
			asked.Unfit = append(asked.Unfit, w.view.Sites[i].Name)
		}
	}
	if len(w.view.Sites) > wire.MaxRace {
		if from, ok := caller(c); ok {
			asked.Hints = r.advisor.prefixes.Hints(w.made, from)
		}
	}
	got := model.Next(asked)
	out := wire.ProbeResponse{Probe: got.Probe, Nearest: got.Nearest}
	if out.Probe == nil {
		out.Probe = []string{} // a list in JSON, never null
	}
	return out, nil
}

// remember keeps what somebody measured, for the next one of her neighbourhood.
// Where sites are few everybody measures all of them, and needs no advice; and
// who measured very many has not followed any.
func (r *Router) remember(w *world, c echo.Context, rtt map[string]float64) {
	if len(rtt) == 0 || len(rtt) > wire.MaxRace || len(w.view.Sites) <= wire.MaxRace {
		return
	}
	if from, ok := caller(c); ok {
		_ = r.advisor.prefixes.Add(w.made, from, rtt) // what cannot be is not kept, and harms nobody
	}
}

// caller is the address that a request came from.
func caller(c echo.Context) (netip.Addr, bool) {
	from, err := netip.ParseAddr(c.RealIP())
	return from, err == nil
}

// nearest are the sites that can be measured, the likeliest to be near to
// somebody first who has reached this router.
func (w *world) nearest() []string {
	far := make([]float64, len(w.view.Sites))
	order := make([]int, 0, len(far))
	for i := range far {
		far[i] = placement.AssumedFar
		if i == w.entry {
			far[i] = 0
		} else if w.entry >= 0 {
			if d := w.row(w.entry)[i]; !math.IsNaN(d.ms) {
				far[i] = d.ms
			}
		}
		if w.sites[i].trouble == "" {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(far[a], far[b]) })
	out := make([]string, len(order))
	for i, at := range order {
		out[i] = w.view.Sites[at].Name
	}
	return out
}
