package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	world, err := r.world()
	if err != nil {
		return err
	}
	if err := world.checkLaunch(req); err != nil {
		return err
	}
	room := rooms.Get().(*placement.Ranker)
	defer rooms.Put(room)
	result := r.place(req, world, room)
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
	out := wire.LaunchResponse{
		Session: session, App: req.App, Version: world.view.Sites[best.Index].Apps[req.App].Version,
		Ticket: token, Expires: expires, Site: best.Site,
		ICEServers:     r.cfg.ICE.servers(session, time.Now()),
		PredictedRTTMS: best.RTT, RTTSource: wire.RTTSource(best.Source),
	}
	list := candidateLists.Get().(*[]wire.Candidate)
	defer candidateLists.Put(list)
	out.Candidates = slices.Grow((*list)[:0], len(result.Candidates))
	for i := range result.Candidates {
		cand := &result.Candidates[i]
		out.Candidates = append(out.Candidates, wire.Candidate{
			Site: cand.Site, BrainURL: world.brain(cand.Index, r.cfg.Chance),
			RTTMS: cand.RTT, RTTSource: wire.RTTSource(cand.Source), RTTErrorMS: cand.Error,
			WaitMS: cand.Wait, LoadMS: cand.Load, Score: cand.Score,
			Excluded: string(cand.Excluded), Reason: cand.Reason,
		})
	}
	*list = out.Candidates
	out.BrainURL = out.Candidates[0].BrainURL
	r.remember(world, c, req.RTTMS)
	r.metrics.placed(best.Site, string(best.Source))
	r.log.LogAttrs(context.Background(), slog.LevelInfo, "session placed", slog.String("session", session), slog.String("app", req.App),
		slog.String("site", best.Site), slog.String("reason", best.Reason))
	h := c.Response().Header()
	h.Set(echo.HeaderLocation, "/v1/sessions/"+session)
	h.Set(echo.HeaderCacheControl, "no-store")
	text := buffers.Get().(*[]byte)
	defer buffers.Put(text)
	*text = appendLaunch((*text)[:0], &out)
	h.Set(echo.HeaderContentLength, strconv.Itoa(len(*text))) // or it goes out in chunks
	return c.Blob(http.StatusCreated, echo.MIMEApplicationJSON, *text)
}

// checkLaunch refuses names that nobody knows.
func (w *world) checkLaunch(req wire.LaunchRequest) error {
	if !w.app(req.App).known {
		return problem(wire.ProblemUnknownApp, "/app", "No site has an app %q; GET /v1/apps lists them.", req.App)
	}
	if err := w.checkMeasured(req.RTTMS, "/rtt_ms"); err != nil {
		return err
	}
	for at, list := range map[string][]string{"/preferences/allow": req.Preferences.Allow, "/preferences/deny": req.Preferences.Deny} {
		if err := w.checkSites(list, at); err != nil {
			return err
		}
	}
	// A site that the person has lost may be gone from the list since.
	return nil
}

// checkMeasured refuses round trips to sites that nobody knows.
func (w *world) checkMeasured(rtt map[string]float64, at string) error {
	unknown := ""
	for site := range rtt {
		if _, ok := w.index[site]; !ok && (unknown == "" || site < unknown) {
			unknown = site
		}
	}
	if unknown != "" {
		return unknownSite(unknown, pointer(at, unknown))
	}
	return nil
}

func (w *world) checkSites(list []string, at string) error {
	for i, site := range list {
		if _, ok := w.index[site]; !ok {
			return unknownSite(site, fmt.Sprintf("%s/%d", at, i))
		}
	}
	return nil
}

func unknownSite(site, field string) error {
	return problem(wire.ProblemUnknownSite, field, "There is no site %q; GET /v1/sites lists them.", site)
}

// place ranks the sites for a request. The result is good as long as the room.
func (r *Router) place(req wire.LaunchRequest, w *world, room *placement.Ranker) placement.Result {
	app := w.app(req.App)
	scratch := siteLists.Get().(*[]placement.Site)
	defer siteLists.Put(scratch)
	sites := append((*scratch)[:0], app.sites...)
	*scratch = sites
	w.predict(sites, req.RTTMS)
	ask := placement.Request{
		Version: req.Version, RTT: req.RTTMS, Entry: r.cfg.Site,
		Allow: req.Preferences.Allow, Deny: req.Preferences.Deny, Lost: req.Lost,
		Residency: req.Preferences.Residency, GPU: req.Preferences.GPU,
		MaxRTT: req.Preferences.MaxRTTMS, Between: w.between,
	}
	result := room.Rank(ask, sites, r.cfg.Chance)
	if result.Serving == 0 && w.isolated {
		// This site cannot serve, and of the others all that is known is that they
		// do not answer *here*. She may well reach them: better than nothing.
		for i := range sites {
			sites[i].Healthy = sites[i].Healthy || w.sites[i].silent
		}
		result = room.Rank(ask, sites, r.cfg.Chance)
	}
	for i := range result.Candidates {
		c := &result.Candidates[i]
		if c.Excluded == placement.NoBrain {
			c.Excluded = placement.Exclusion(w.sites[c.Index].trouble)
			c.Reason = string(c.Excluded)
		}
	}
	return result
}

// Memory that one request after the other uses.
var (
	rooms          = sync.Pool{New: func() any { return new(placement.Ranker) }}
	siteLists      = sync.Pool{New: func() any { return new([]placement.Site) }}
	candidateLists = sync.Pool{New: func() any { return new([]wire.Candidate) }}
	buffers        = sync.Pool{New: func() any { return new([]byte) }}
)

// noSite says which rule removed the last site, and of each why it cannot serve.
func noSite(app string, result placement.Result) error {
	reasons := make([]string, len(result.Candidates))
	for i, c := range result.Candidates {
		reasons[i] = c.Site + ": " + c.Reason
	}
	detail := fmt.Sprintf("No site can run %s.", app)
	field := ""
	if rule, site := result.LastRule(); rule != "" {
		field = preferenceFields[rule]
		if rule.Preference() {
			detail += fmt.Sprintf(" The last that could was %s, and the request's own rule removed it (%s).", site, rule)
		} else {
			detail += fmt.Sprintf(" The last to be left out was %s (%s).", site, rule)
		}
	}
	return problem(wire.ProblemNoSite, field, "%s Of each: %s.", detail, strings.Join(reasons, "; "))
}

// preferenceFields are where in a request the rules stand that are its own.
var preferenceFields = map[placement.Exclusion]string{
	placement.Denied: "/preferences/deny", placement.NotAllowed: "/preferences/allow", placement.Lost: "/lost",
	placement.NoResidency: "/preferences/residency", placement.NoGPU: "/preferences/gpu",
	placement.NoVersion: "/version", placement.TooFar: "/preferences/max_rtt_ms",
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
