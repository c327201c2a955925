package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router/placement"
)

// maxTicketSites is how many sites a ticket names: the chosen one, and those that
// the page may try if it fails.
const maxTicketSites = 8

// postSession places a session and signs its ticket.
func (r *Router) postSession(c echo.Context) error {
	began := time.Now()
	if err := r.admitLaunch(c); err != nil {
		return err
	}
	object, err := readJSON(c.Request(), c.Response())
	if err != nil {
		return err
	}
	req, err := readLaunch(object)
	if err != nil {
		return err
	}
	table, err := r.siteTable()
	if err != nil {
		return err
	}
	if err := table.checkLaunch(req); err != nil {
		return err
	}
	launch, err := r.checkToken(c.Request(), table, req.App, true)
	if err != nil {
		return err
	}
	if err := table.narrow(&req.Preferences, launch); err != nil {
		return err
	}
	memory := r.memory.Get().(*launchMemory)
	defer r.memory.Put(memory)
	result := r.place(req, table, memory)
	best, ok := result.Best()
	if !ok {
		return noSite(req.App, result)
	}

	session := ticket.NewSessionAt(best.Site)
	span := r.cfg.Trace.StartAt("", "router place", session, began)
	defer span.End()
	sites := make([]string, 0, maxTicketSites)
	for _, cand := range result.Candidates[:min(result.Serving, maxTicketSites)] {
		sites = append(sites, cand.Site)
	}
	// The ticket has the requested version, not the site's newest: each site counts
	// its own versions, so that number means nothing at the next site.
	claims := ticket.Claims{Session: session, App: req.App, Version: req.Version, Sites: sites, Trace: span.Parent()}
	r.carry(&claims, launch)
	if err := setParams(&claims, table.view.Sites[best.Index].Apps[req.App].Params, req.Params, launch, table.app(req.App).access); err != nil {
		return err
	}
	if launch.anonymous() {
		_, wide := networks(c.RealIP())
		claims.Network = r.cfg.Signer.HashNetwork(wide)
	}
	token, expires, err := r.cfg.Signer.Sign(claims)
	if err != nil {
		return err
	}
	out := wire.LaunchResponse{
		Session: session, App: req.App, Version: table.view.Sites[best.Index].Apps[req.App].Version,
		Ticket: token, Expires: expires, Site: best.Site,
		ICEServers:     r.cfg.ICE.servers(),
		PredictedRTTMS: best.RTT, RTTSource: wire.RTTSource(best.Source),
	}
	out.Candidates = memory.candidates[:0]
	for i := range result.Candidates {
		cand := &result.Candidates[i]
		out.Candidates = append(out.Candidates, wire.Candidate{
			Site: cand.Site, BrainURL: table.brain(cand.Index, r.cfg.Chance),
			RTTMS: cand.RTT, RTTSource: wire.RTTSource(cand.Source), RTTErrorMS: cand.Error,
			WaitMS: cand.Wait, LoadMS: cand.Load, Score: cand.Score,
			Excluded: string(cand.Excluded), Reason: cand.Reason,
		})
	}
	memory.candidates = out.Candidates
	tracePlaced(span, r.cfg.Site, &out)
	r.placed.note(session, req.Preferences, out.Candidates, time.Now())
	out.BrainURL = out.Candidates[0].BrainURL
	out.SpareBrainURLs = table.spares(best.Index, out.BrainURL)
	r.remember(table, c, req.RTTMS)
	r.metrics.placed(best.Site, string(best.Source))
	r.log.LogAttrs(context.Background(), slog.LevelInfo, "session placed", slog.String("session", session), slog.String("app", req.App),
		slog.String("site", best.Site), slog.String("reason", best.Reason), slog.String("key", launch.Key))
	h := c.Response().Header()
	h.Set(echo.HeaderLocation, "/v1/sessions/"+session)
	h.Set(echo.HeaderCacheControl, "no-store")
	memory.text = appendLaunch(memory.text[:0], &out)
	h.Set(echo.HeaderContentLength, strconv.Itoa(len(memory.text))) // else the answer is sent in chunks
	return c.Blob(http.StatusCreated, echo.MIMEApplicationJSON, memory.text)
}

// launchMemory is the working memory of a launch. Launches reuse it: without it, a
// launch among 200 sites takes 2.0 × the processor time (1.6 × if all sites were
// measured). Each of its parts saves about a tenth or more.
type launchMemory struct {
	ranker     placement.Ranker
	sites      []placement.Site
	candidates []wire.Candidate
	text       []byte
}

// checkLaunch refuses unknown names.
func (t *siteTable) checkLaunch(req wire.LaunchRequest) error {
	if !t.app(req.App).known {
		return unknownApp(req.App)
	}
	if err := t.checkMeasured(req.RTTMS, "/rtt_ms"); err != nil {
		return err
	}
	if err := t.checkSites(req.Preferences.Allow, "/preferences/allow"); err != nil {
		return err
	}
	if err := t.checkSites(req.Preferences.Deny, "/preferences/deny"); err != nil {
		return err
	}
	// A site in req.Lost may be unknown: it may have been removed since.
	return nil
}

func unknownApp(id string) error {
	return problem(wire.ProblemUnknownApp, "/app", "No site has an app %q; GET /v1/apps lists those that are public.", id)
}

// checkMeasured refuses round trips to unknown sites.
func (t *siteTable) checkMeasured(rtt map[string]float64, at string) error {
	unknown := ""
	for site := range rtt {
		if _, ok := t.index[site]; !ok && (unknown == "" || site < unknown) {
			unknown = site
		}
	}
	if unknown != "" {
		return unknownSite(unknown, pointer(at, unknown))
	}
	return nil
}

func (t *siteTable) checkSites(list []string, at string) error {
	for i, site := range list {
		if _, ok := t.index[site]; !ok {
			return unknownSite(site, fmt.Sprintf("%s/%d", at, i))
		}
	}
	return nil
}

func unknownSite(site, field string) error {
	return problem(wire.ProblemUnknownSite, field, "There is no site %q; GET /v1/sites lists them.", site)
}

// place ranks the sites for a request. The result is valid until the memory is
// used again.
func (r *Router) place(req wire.LaunchRequest, table *siteTable, memory *launchMemory) placement.Result {
	sites := append(memory.sites[:0], table.app(req.App).sites...)
	memory.sites = sites
	table.predictRTTs(sites, req.RTTMS)
	ask := placement.Request{
		Version: req.Version, RTT: req.RTTMS, Entry: r.cfg.Site,
		Allow: req.Preferences.Allow, Deny: req.Preferences.Deny, Lost: req.Lost,
		Residency: req.Preferences.Residency, GPU: req.Preferences.GPU,
		MaxRTT: req.Preferences.MaxRTTMS, Between: table.between,
	}
	result := memory.ranker.Rank(ask, sites, r.cfg.Chance)
	if result.Serving == 0 && table.isolated {
		// This site cannot serve, and the others do not answer this router. The
		// person may still reach them: that is better than no site.
		for i := range sites {
			sites[i].Healthy = sites[i].Healthy || table.sites[i].silent
		}
		result = memory.ranker.Rank(ask, sites, r.cfg.Chance)
	}
	for i := range result.Candidates {
		c := &result.Candidates[i]
		if c.Excluded == placement.NoBrain {
			c.Excluded = placement.Exclusion(table.sites[c.Index].unhealthy)
			c.Reason = string(c.Excluded)
		}
	}
	return result
}

// noSite says which rule excluded the last site, and why each site cannot serve.
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
			detail += fmt.Sprintf(" The last candidate was %s, removed by the request: %s.", site, rule)
		} else {
			detail += fmt.Sprintf(" The last candidate was %s: %s.", site, rule)
		}
	}
	return problem(wire.ProblemNoSite, field, "%s The reason of each site: %s.", detail, strings.Join(reasons, "; "))
}

// preferenceFields points to the rules that come from the request.
var preferenceFields = map[placement.Exclusion]string{
	placement.Denied: "/preferences/deny", placement.NotAllowed: "/preferences/allow", placement.Lost: "/lost",
	placement.NoResidency: "/preferences/residency", placement.NoGPU: "/preferences/gpu",
	placement.NoVersion: "/version", placement.TooFar: "/preferences/max_rtt_ms",
}

// postTicket renews the ticket of a person that waits for a seat.
func (r *Router) postTicket(c echo.Context) error {
	h := c.Response().Header()
	h.Set(echo.HeaderCacheControl, "no-store")
	token, ok := bearer(c.Request())
	if !ok {
		return problem(wire.ProblemTicket, "", "Send the current ticket as: Authorization: Bearer <ticket>.")
	}
	claims, err := r.cfg.Verifier.Verify(token)
	switch {
	case errors.Is(err, ticket.ErrExpired):
		return problem(wire.ProblemTicket, "", "The ticket has expired; renew it earlier next time, and now POST /v1/sessions again.")
	case err != nil:
		return problem(wire.ProblemTicket, "", "The ticket was not signed by a router of these sites; POST /v1/sessions gives a new one.")
	case claims.Session != c.Param("id"):
		return problem(wire.ProblemTicket, "", "The ticket is for another session.")
	}
	next, expires, err := r.cfg.Signer.Renew(claims)
	if errors.Is(err, ticket.ErrWaited) {
		return problem(wire.ProblemTicket, "", "The ticket was renewed for %s, which is the limit; POST /v1/sessions again.", ticket.MaxWait)
	}
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, wire.TicketRenewal{Ticket: next, Expires: expires})
}
