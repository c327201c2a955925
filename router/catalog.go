package router

import (
	"cmp"
	_ "embed"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nearcast/nearcast/internal/wire"
)

// OpenAPI is the description of the API that is served.
//
//go:embed openapi.yaml
var OpenAPI []byte

func (r *Router) getOpenAPI(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-cache")
	return c.Blob(http.StatusOK, "application/yaml", OpenAPI)
}

// getBeacon answers as quickly as possible: the caller measures the time.
func (r *Router) getBeacon(c echo.Context) error {
	h := c.Response().Header()
	h.Set(echo.HeaderCacheControl, "no-store")
	h.Set("Timing-Allow-Origin", "*")
	return c.NoContent(http.StatusNoContent)
}

// getApps lists the apps.
func (r *Router) getApps(c echo.Context) error {
	table, err := r.siteTable()
	if err != nil {
		return err
	}
	view := table.view
	apps := map[string]*wire.AppView{}
	updated := map[string]time.Time{}
	for _, s := range view.Sites {
		for id, app := range s.Apps {
			a, ok := apps[id]
			if !ok {
				a = &wire.AppView{ID: id, Sites: map[string]wire.Capacity{}}
				apps[id] = a
			}
			a.Sites[s.Name] = app.Capacity
			// Sites may have different versions of an app. The own site's counts,
			// else the one that was updated last.
			if s.Name != r.cfg.Site && ok && !app.Updated.After(updated[id]) {
				continue
			}
			updated[id] = app.Updated
			if s.Name == r.cfg.Site {
				updated[id] = forever
			}
			a.Version, a.Title, a.Description = app.Version, cmp.Or(app.Title, id), app.Description
			a.Picture, a.Display = app.Picture, app.Display
		}
	}
	out := wire.AppsResponse{Apps: make([]wire.AppView, 0, len(apps)), Stale: view.Stale()}
	for _, id := range slices.Sorted(maps.Keys(apps)) {
		out.Apps = append(out.Apps, *apps[id])
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(http.StatusOK, out)
}

var forever = time.Unix(1<<40, 0)

// getHealth succeeds while there is a view to serve from, even a stale one: it
// would not help to remove a router because its Consul fails for a moment.
func (r *Router) getHealth(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	table, err := r.siteTable()
	if err != nil {
		return err
	}
	out := struct {
		Status     string     `json:"status"`
		Site       string     `json:"site"`
		StaleSince *time.Time `json:"stale_since,omitempty"`
	}{Status: "ok", Site: r.cfg.Site}
	if table.view.Stale() {
		out.Status, out.StaleSince = "stale", &table.view.StaleSince
	}
	return c.JSON(http.StatusOK, out)
}
