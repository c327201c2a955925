package router

import (
	"cmp"
	"math"
	"net/http"
	"net/netip"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router/placement"
	"github.com/nearcast/nearcast/router/placement/probe"
)

// Among more than wire.MaxRace sites a page probes firstAtOnce at first, then
// nextAtOnce at a time: probes at the same time take no longer than one.
const (
	firstAtOnce = 3
	nextAtOnce  = 2
)

// postProbes says which sites to probe next.
func (r *Router) postProbes(c echo.Context) error {
	object, err := readJSON(c.Request(), c.Response())
	if err != nil {
		return err
	}
	req, err := readProbes(object)
	if err != nil {
		return err
	}
	table, err := r.siteTable()
	if err != nil {
		return err
	}
	if err := table.checkMeasured(req.RTTMS, "/rtt_ms"); err != nil {
		return err
	}
	if err := table.checkMeasured(req.SilentMS, "/silent_ms"); err != nil {
		return err
	}
	if err := table.checkSites(req.Failed, "/failed"); err != nil {
		return err
	}
	out, err := r.nextProbes(table, c, probe.Asked{RTT: req.RTTMS, Silent: req.SilentMS, Failed: req.Failed, AtOnce: nextAtOnce})
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(http.StatusOK, out)
}

// firstProbes are the sites to probe at first: all where there are few, the
// probably nearest first.
func (r *Router) firstProbes(table *siteTable, c echo.Context) ([]string, error) {
	if len(table.view.Sites) <= wire.MaxRace {
		return table.nearestFirst(), nil
	}
	out, err := r.nextProbes(table, c, probe.Asked{AtOnce: firstAtOnce})
	return out.Probe, err
}

// nextProbes asks the model which sites to probe next.
func (r *Router) nextProbes(table *siteTable, c echo.Context, asked probe.Asked) (wire.ProbeResponse, error) {
	model, err := r.models.get(table)
	if err != nil {
		return wire.ProbeResponse{}, err
	}
	// DNS sends people to a near router, as far as it can tell.
	asked.Entry, asked.EntryNear = r.cfg.Site, true
	for i := range table.sites {
		if table.sites[i].unhealthy != "" {
			asked.Unfit = append(asked.Unfit, table.view.Sites[i].Name)
		}
	}
	if len(table.view.Sites) > wire.MaxRace {
		if from, ok := caller(c); ok {
			asked.Hints = r.prefixes.Hints(table.made, from)
		}
	}
	advice := model.Next(asked)
	out := wire.ProbeResponse{Probe: advice.Probe, Nearest: advice.Nearest}
	if out.Probe == nil {
		out.Probe = []string{} // a list in JSON, never null
	}
	return out, nil
}

// remember keeps what a caller measured, as a hint for others of the same
// network. Among few sites hints are not needed, since all sites are probed; and
// a caller that measured very many sites followed no advice.
func (r *Router) remember(table *siteTable, c echo.Context, rtt map[string]float64) {
	if len(rtt) == 0 || len(rtt) > wire.MaxRace || len(table.view.Sites) <= wire.MaxRace {
		return
	}
	if from, ok := caller(c); ok {
		_ = r.prefixes.Add(table.made, from, rtt) // a report that is refused is just not kept
	}
}

// caller is the address that a request came from.
func caller(c echo.Context) (netip.Addr, bool) {
	from, err := netip.ParseAddr(c.RealIP())
	return from, err == nil
}

// nearestFirst are the healthy sites by their distance from this router.
func (t *siteTable) nearestFirst() []string {
	far := make([]float64, len(t.view.Sites))
	order := make([]int, 0, len(far))
	for i := range far {
		far[i] = placement.AssumedFar
		if i == t.entry {
			far[i] = 0
		} else if t.entry >= 0 {
			if d := t.row(t.entry)[i]; !math.IsNaN(d.ms) {
				far[i] = d.ms
			}
		}
		if t.sites[i].unhealthy == "" {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(far[a], far[b]) })
	out := make([]string, len(order))
	for i, at := range order {
		out[i] = t.view.Sites[at].Name
	}
	return out
}
