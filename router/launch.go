package router

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router/placement"
)

// maxTicketSites is how many sites a ticket names: the chosen, and those where
// the page may go on if that one fails.
const maxTicketSites = 8

// postSession places a session and signs its ticket.
func (r *Router) postSession(c echo.Context) error {
	object, err := readJSON(c.Request(), c.Response())
	if err != nil {
		return err
	}
	req, err := readLaunch(object)
	if err != nil {
		return err
	}
	view := r.cfg.View.Snapshot()
	if !view.Ready {
		return notReady()
	}
	if err := checkLaunch(req, view); err != nil {
		return err
	}
	result, brains := r.place(req, view, time.Now())
	best, ok := result.Best()
	if !ok {
		return noSite(req.App, result)
	}

	session := ticket.NewSession()
	sites := make([]string, 0, maxTicketSites)
	for _, cand := range result.Candidates[:min(result.Serving, maxTicketSites)] {
		sites = append(sites, cand.Site)
	}
	// The version in the ticket is the one asked for: each site counts its own,
	// so the newest of one site means nothing at the next.
	token, expires, err := r.cfg.Signer.Sign(ticket.Claims{
		Session: session, App: req.App, Version: req.Version, Sites: sites,
	})
	if err != nil {
		return err
	}
	site := view.Sites[best.Index]
	out := wire.LaunchResponse{
		Session: session, App: req.App, Version: site.Apps[req.App].Version,
		Ticket: token, Expires: expires,
		Site: best.Site, BrainURL: brains[best.Index],
		ICEServers:     r.cfg.ICE.servers(session, time.Now()),
		PredictedRTTMS: best.RTT, RTTSource: wire.RTTSource(best.Source),
		Candidates: make([]wire.Candidate, len(result.Candidates)),
	}
	for i, cand := range result.Candidates {
		out.Candidates[i] = wire.Candidate{
			Site: cand.Site, BrainURL: brains[cand.Index],
			RTTMS: cand.RTT, RTTSource: wire.RTTSource(cand.Source),
			WaitMS: cand.Wait, LoadMS: cand.Load, Score: cand.Score,
			Excluded: string(cand.Excluded), Reason: cand.Reason,
		}
	}
	r.metrics.placed(best.Site, string(best.Source))
	r.log.Info("session placed", slog.String("session", session), slog.String("app", req.App),
		slog.String("site", best.Site), slog.String("reason", best.Reason))
	h := c.Response().Header()
	h.Set(echo.HeaderLocation, "/v1/sessions/"+session)
	h.Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(http.StatusCreated, out)
}

// checkLaunch refuses names that nobody knows.
func checkLaunch(req wire.LaunchRequest, view Snapshot) error {
	known := slices.ContainsFunc(view.Sites, func(s Site) bool { _, ok := s.Apps[req.App]; return ok })
	if !known {
		return problem(wire.ProblemUnknownApp, "/app", "No site has an app %q; GET /v1/apps lists them.", req.App)
	}
	unknown := func(site, field string) error {
		if _, ok := view.Site(site); ok {
			return nil
		}
		return problem(wire.ProblemUnknownSite, field, "There is no site %q; GET /v1/sites lists them.", site)
	}
	for _, site := range slices.Sorted(maps.Keys(req.RTTMS)) {
		if err := unknown(site, pointer("/rtt_ms", site)); err != nil {
			return err
		}
	}
	for i, site := range req.Preferences.Allow {
		if err := unknown(site, fmt.Sprintf("/preferences/allow/%d", i)); err != nil {
			return err
		}
	}
	for i, site := range req.Preferences.Deny {
		if err := unknown(site, fmt.Sprintf("/preferences/deny/%d", i)); err != nil {
			return err
		}
	}
	return nil
}

// place ranks the sites, and picks a brain at each.
func (r *Router) place(req wire.LaunchRequest, view Snapshot, now time.Time) (placement.Result, []string) {
	sites := make([]placement.Site, len(view.Sites))
	brains := make([]string, len(view.Sites))
	for i, s := range view.Sites {
		app, present := s.Apps[req.App]
		room := app.Capacity
		if brain, ok := pick(s.Brains, r.cfg.Chance); ok && s.reachable(view, now) {
			brains[i] = connectURL(brain.URL)
		}
		sites[i] = placement.Site{
			Name: s.Name, Healthy: brains[i] != "", PredictedRTT: s.PredictedRTTMS,
			Present: present, Version: app.Version,
			Idle: room.Idle, Busy: room.Busy, Starting: room.Starting, Queued: room.Queued, Max: room.Max,
			ColdStart: float64(room.ColdStartMS), Failing: room.Failing,
		}
	}
	return placement.Rank(placement.Request{
		Version: req.Version, RTT: req.RTTMS, Entry: r.cfg.Site,
		Allow: req.Preferences.Allow, Deny: req.Preferences.Deny, MaxRTT: req.Preferences.MaxRTTMS,
	}, sites, r.cfg.Chance), brains
}

// connectPath is the WebSocket of a brain.
const connectPath = "/v1/connect"

// connectURL is the WebSocket of a brain that is registered by its address alone.
func connectURL(base string) string {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return ""
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = connectPath
	}
	return u.String()
}

func notReady() error {
	return problem(wire.ProblemUnavailable, "", "This router has just started and has not seen any site yet; try again in a moment.")
}

// noSite says of each site why it cannot serve.
func noSite(app string, result placement.Result) error {
	reasons := make([]string, len(result.Candidates))
	for i, c := range result.Candidates {
		reasons[i] = c.Site + ": " + c.Reason
	}
	return problem(wire.ProblemNoSite, "", "No site can run %s. %s.", app, strings.Join(reasons, "; "))
}

// postTicket gives a waiting person's ticket more time.
func (r *Router) postTicket(c echo.Context) error {
	h := c.Response().Header()
	h.Set(echo.HeaderCacheControl, "no-store")
	token, ok := bearer(c.Request())
	if !ok {
		return problem(wire.ProblemTicket, "", "Send the ticket in force as: Authorization: Bearer <ticket>.")
	}
	claims, err := r.cfg.Verifier.Verify(token)
	switch {
	case errors.Is(err, ticket.ErrExpired):
		return problem(wire.ProblemTicket, "", "It has expired; renew a ticket before it does, or POST /v1/sessions again.")
	case err != nil:
		return problem(wire.ProblemTicket, "", "No router of this fleet has issued it.")
	case claims.Session != c.Param("id"):
		return problem(wire.ProblemTicket, "", "It is for another session.")
	}
	next, expires, err := r.cfg.Signer.Renew(claims)
	if errors.Is(err, ticket.ErrWaited) {
		return problem(wire.ProblemTicket, "", "It was renewed for %s, which is the most; POST /v1/sessions again.", ticket.MaxWait)
	}
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, wire.TicketRenewal{Ticket: next, Expires: expires})
}

func bearer(req *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(req.Header.Get(echo.HeaderAuthorization), " ")
	token = strings.TrimSpace(token)
	return token, ok && token != "" && strings.EqualFold(scheme, "Bearer")
}
