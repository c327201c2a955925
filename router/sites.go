package router

import (
	"cmp"
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router/placement"
)

// getSites lists where apps can be played, and how to measure the way there.
func (r *Router) getSites(c echo.Context) error {
	all := false
	switch distances := c.QueryParam("distances"); distances {
	case "", "entry":
	case "all":
		all = true
	default:
		return problem(wire.ProblemInvalid, "", "distances is %q and must be all, or entry (which it is without).", distances)
	}
	w, err := r.world()
	if err != nil {
		return err
	}
	out := wire.SitesResponse{
		Entry: r.cfg.Site, Sites: make([]wire.SiteView, 0, len(w.view.Sites)), Probe: w.firstProbes(), Stale: w.view.Stale(),
	}
	for i := range w.view.Sites {
		s := &w.view.Sites[i]
		v := wire.SiteView{
			Site: s.Name, Residency: s.Info.Residency, GPU: s.Info.GPU,
			Healthy: w.sites[i].trouble == "", Unhealthy: w.sites[i].trouble,
			Apps: make(map[string]wire.Capacity, len(s.Apps)),
		}
		for id, app := range s.Apps {
			v.Apps[id] = app.Capacity
		}
		if i == w.entry {
			v.RouterURL, v.STUNURL = r.cfg.URL, r.cfg.STUNURL
		} else if near, ok := pick(s.Routers, r.cfg.Chance); ok {
			v.RouterURL, v.STUNURL = strings.TrimRight(near.URL, "/"), near.STUNURL
		}
		if v.RouterURL != "" {
			v.BeaconURL = v.RouterURL + "/v1/beacon"
		}
		if v.Healthy {
			v.BrainURL = w.brain(i, r.cfg.Chance)
		}
		if all || i == w.entry {
			v.Distances = s.Distances
		}
		out.Sites = append(out.Sites, v)
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(http.StatusOK, out)
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
	if err := w.checkMeasured(req.RTTMS); err != nil {
		return err
	}
	if err := w.checkSites(req.Failed, "/failed"); err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(http.StatusOK, w.nextProbes(req))
}

// firstProbes are the sites to measure to begin with, the nearest to the router
// that was reached first: all of them where they are few.
func (w *world) firstProbes() []string {
	order := w.probeOrder(map[string]float64{})
	out := make([]string, 0, min(len(order), wire.MaxRace))
	for _, s := range order[:min(len(order), wire.MaxRace)] {
		out = append(out, s.Name)
	}
	return out
}

// nextProbes are the sites that may still turn out nearer than the nearest that
// was measured.
func (w *world) nextProbes(req wire.ProbeRequest) wire.ProbeResponse {
	out := wire.ProbeResponse{Probe: []string{}}
	best := math.Inf(1)
	for site, ms := range req.RTTMS {
		if ms < best || ms == best && site < out.Nearest {
			best, out.Nearest = ms, site
		}
	}
	for _, s := range w.probeOrder(req.RTTMS) {
		if out.Nearest == "" {
			out.Nearest = s.Name
		}
		_, measured := req.RTTMS[s.Name]
		if measured || slices.Contains(req.Failed, s.Name) || s.PredictedRTT-s.PredictedError >= best {
			continue
		}
		if out.Probe = append(out.Probe, s.Name); len(out.Probe) == probesAtOnce {
			break
		}
	}
	return out
}

// probesAtOnce is how many sites are worth measuring before asking again.
const probesAtOnce = 2

// probeOrder gives the sites that can be measured, the likeliest to be near first.
func (w *world) probeOrder(rtt map[string]float64) []placement.Site {
	var sites []placement.Site
	for i := range w.view.Sites {
		sites = append(sites, placement.Site{Name: w.view.Sites[i].Name, Healthy: w.sites[i].trouble == ""})
	}
	w.predict(sites, rtt)
	entry := ""
	if w.entry >= 0 {
		entry = w.view.Sites[w.entry].Name
	}
	sites = slices.DeleteFunc(sites, func(s placement.Site) bool { return !s.Healthy })
	slices.SortStableFunc(sites, func(a, b placement.Site) int { return cmp.Compare(guess(a, entry), guess(b, entry)) })
	return sites
}

func guess(s placement.Site, entry string) float64 {
	switch {
	case s.PredictedRTT > 0:
		return s.PredictedRTT
	case s.Name == entry:
		return placement.AssumedNear
	}
	return placement.AssumedFar
}
