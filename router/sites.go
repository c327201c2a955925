package router

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/nearcast/nearcast/internal/wire"
)

// getSites lists the sites, and what to measure the round trips against.
func (r *Router) getSites(c echo.Context) error {
	all := false
	switch distances := c.QueryParam("distances"); distances {
	case "", "entry":
	case "all":
		all = true
	default:
		return problem(wire.ProblemInvalid, "", "distances must be \"entry\" (the default) or \"all\", not %q.", distances)
	}
	table, err := r.siteTable()
	if err != nil {
		return err
	}
	first, err := r.firstProbes(table, c)
	if err != nil {
		return err
	}
	out := wire.SitesResponse{
		Entry: r.cfg.Site, Sites: make([]wire.SiteView, 0, len(table.view.Sites)), Probe: first, Login: r.people != nil, Stale: table.view.Stale(),
	}
	for i := range table.view.Sites {
		s := &table.view.Sites[i]
		v := wire.SiteView{
			Site: s.Name, Residency: s.Info.Residency, GPU: s.Info.GPU,
			Healthy: table.sites[i].unhealthy == "", Unhealthy: table.sites[i].unhealthy,
			Apps: make(map[string]wire.Capacity, len(s.Apps)),
		}
		for id, app := range s.Apps {
			if table.app(id).access == wire.AccessPublic {
				v.Apps[id] = app.Capacity
			}
		}
		if i == table.entry {
			v.RouterURL = r.cfg.URL
		} else if near, ok := pick(s.Routers, r.cfg.Chance); ok {
			v.RouterURL = strings.TrimRight(near.URL, "/")
		}
		if v.RouterURL != "" {
			v.BeaconURL = v.RouterURL + "/v1/beacon"
		}
		if v.Healthy {
			v.BrainURL = table.brain(i, r.cfg.Chance)
		}
		if all || i == table.entry {
			v.Distances = s.Distances
		}
		out.Sites = append(out.Sites, v)
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(http.StatusOK, out)
}
