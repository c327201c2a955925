package router

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/nearcast/nearcast/internal/wire"
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
	first, err := r.firstProbes(w, c)
	if err != nil {
		return err
	}
	out := wire.SitesResponse{
		Entry: r.cfg.Site, Sites: make([]wire.SiteView, 0, len(w.view.Sites)), Probe: first, Stale: w.view.Stale(),
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
			v.RouterURL = r.cfg.URL
		} else if near, ok := pick(s.Routers, r.cfg.Chance); ok {
			v.RouterURL = strings.TrimRight(near.URL, "/")
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
