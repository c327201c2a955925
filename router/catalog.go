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

// getApps lists the apps that anybody may launch.
func (r *Router) getApps(c echo.Context) error {
	table, err := r.siteTable()
	if err != nil {
		return err
	}
	out := wire.AppsResponse{Apps: []wire.AppView{}, Stale: table.view.Stale()}
	ids := map[string]bool{}
	for _, s := range table.view.Sites {
		for id := range s.Apps {
			ids[id] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		if table.app(id).access == wire.AccessPublic {
			out.Apps = append(out.Apps, r.appView(table, id))
		}
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(http.StatusOK, out)
}

// getApp describes one app. Of an app that is not public it tells only those who may launch it,
// so a page learns before Play is pressed whether its token holds. A browser sends
// no Origin with this request, so origins are not checked.
func (r *Router) getApp(c echo.Context) error {
	table, err := r.siteTable()
	if err != nil {
		return err
	}
	id := c.Param("app")
	if !table.app(id).known {
		return unknownApp(id)
	}
	if _, err := r.checkToken(c.Request(), table, id, false); err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(http.StatusOK, r.appView(table, id))
}

// appView is an app over all sites.
func (r *Router) appView(table *siteTable, id string) wire.AppView {
	out := wire.AppView{ID: id, Sites: map[string]wire.Capacity{}}
	var updated time.Time
	for _, s := range table.view.Sites {
		app, ok := s.Apps[id]
		if !ok {
			continue
		}
		first := len(out.Sites) == 0
		out.Sites[s.Name] = app.Capacity
		// Sites may have different versions of an app. The own site's counts,
		// else the one that was updated last.
		if s.Name != r.cfg.Site && !first && !app.Updated.After(updated) {
			continue
		}
		updated = app.Updated
		if s.Name == r.cfg.Site {
			updated = forever
		}
		out.Version, out.Title, out.Description = app.Version, cmp.Or(app.Title, id), app.Description
		out.Picture, out.Display = app.Picture, app.Display
	}
	return out
}

var forever = time.Unix(1<<40, 0)

// getHealth succeeds while there is a view to serve from, even a stale one: it
// would not help to remove a router because its Consul fails for a moment.
func (r *Router) getHealth(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	view, err := r.current(time.Now()) // and no siteTable: all routers ask this all the time
	if err != nil {
		return err
	}
	out := wire.Health{Status: "ok", Site: r.cfg.Site, Facts: r.tells(c, view)}
	if view.Stale() {
		out.Status, out.StaleSince = "stale", &view.StaleSince
	} else if out.Facts != "" {
		if answer, ok := r.teller.facts.Health(c.QueryParam("have"), zips(c)); ok {
			return send(c, answer)
		}
	}
	return c.JSON(http.StatusOK, out)
}
