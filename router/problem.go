package router

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/nearcast/nearcast/internal/wire"
)

// kind is what all problems of one kind share.
type kind struct {
	status int
	title  string
	help   string // the text of /problems/<kind>
}

var kinds = map[string]kind{
	wire.ProblemMalformed:   {http.StatusBadRequest, "The request body cannot be read", "The body is not JSON, a value has the wrong type, or a field is unknown or given twice. \"field\" points to it."},
	wire.ProblemInvalid:     {http.StatusUnprocessableEntity, "A value is not allowed", "The request can be read, but a value in it is not allowed. \"field\" points to it, and \"detail\" says what is allowed."},
	wire.ProblemTooLarge:    {http.StatusRequestEntityTooLarge, "The request body is too large", "A request body may have at most 65536 bytes."},
	wire.ProblemHeaders:     {http.StatusRequestHeaderFieldsTooLarge, "The request headers are too large", "The headers of a request may have at most 16 KiB in all."},
	wire.ProblemMediaType:   {http.StatusUnsupportedMediaType, "The request body is not JSON", "Send the body with Content-Type: application/json."},
	wire.ProblemUnknownApp:  {http.StatusNotFound, "There is no such app", "GET /v1/apps lists the apps. An app that was published a moment ago may take a second to appear."},
	wire.ProblemUnknownSite: {http.StatusUnprocessableEntity, "There is no such site", "\"field\" points to the unknown name. GET /v1/sites lists the sites."},
	wire.ProblemNotFound:    {http.StatusNotFound, "Not found", "The path is wrong, or the thing that it names is gone. For example, a session is gone once it has ended."},
	wire.ProblemMethod:      {http.StatusMethodNotAllowed, "The method is not allowed here", "The header Allow lists the methods that are."},
	wire.ProblemTicket:      {http.StatusUnauthorized, "The ticket is not valid", "The ticket is missing, has expired, is for another session, or is not a ticket. POST /v1/sessions gives a new one."},
	wire.ProblemAPIKey:      {http.StatusUnauthorized, "The API key is not valid", "The API key is missing, unknown or revoked. An operator makes one with nearcast apikey create; send it as Authorization: Bearer <key>."},
	wire.ProblemLaunchToken: {http.StatusUnauthorized, "The launch needs a launch token", "The app may be launched only with a launch token, which the server of the page's owner makes. Send it as Authorization: Bearer <token>. It is missing, or it does not allow this launch; \"detail\" says which."},
	wire.ProblemLaunchOver:  {http.StatusUnauthorized, "The launch token has expired", "A launch token is good for 15 minutes at most. The page that it came from has to ask its server for a new one."},
	wire.ProblemLogin:       {http.StatusUnauthorized, "The app needs a login", "The app is for people who have logged in at the sites' provider, or for those with a launch token. The player's own page sends a person to the provider (GET /login?app=…). \"detail\" says what is missing."},
	wire.ProblemLoginGroups: {http.StatusForbidden, "This person may not launch the app", "The person has logged in, and is none of those for whom the app is. The app's publisher says who they are (login_groups and login_subjects in its job's meta)."},
	wire.ProblemTooMany:     {http.StatusTooManyRequests, "Too many", "Too many messages, offers or connections, of one person or of one network. Try again after the seconds that Retry-After names."},
	wire.ProblemTicketUsed:  {http.StatusForbidden, "The ticket was already used", "A ticket starts one session, once. POST /v1/sessions gives a new one."},
	wire.ProblemForbidden:   {http.StatusForbidden, "The token does not allow this", "Reading or ending a session takes that session's ticket, its resume token, an operator's token, or an API key of its customer with the scope for it. \"detail\" says what is missing."},
	wire.ProblemNoStill:     {http.StatusConflict, "There is no picture to look at", "The person's page is not connected now, or no picture came in time. Try again in a moment."},
	wire.ProblemSessions:    {http.StatusTooManyRequests, "Too many sessions at once", "\"detail\" says how many there are, where, and until when. The limit is that of a launch token's subject, of a person who has logged in, or of a network for anonymous launches. End a session, or wait until one ends."},
	wire.ProblemRate:        {http.StatusTooManyRequests, "Too many requests", "Wait for as many seconds as the header Retry-After says. The limit counts all callers of a network together, or all launches for one subject of launch tokens."},
	wire.ProblemResume:      {http.StatusGone, "The session is over", "The session of the resume token has ended. POST /v1/sessions starts a new one."},
	wire.ProblemNoSite:      {http.StatusServiceUnavailable, "No site can run this app now", "\"detail\" gives the reason of each site. That all seats are taken is never the reason: people can queue for a seat."},
	wire.ProblemStartFailed: {http.StatusServiceUnavailable, "Seats of this app fail to start", "\"detail\" says why. The publisher of the app must fix it."},
	wire.ProblemUnavailable: {http.StatusServiceUnavailable, "The service is not available now", "Try again in a moment, or at another router."},
	wire.ProblemInternal:    {http.StatusInternalServerError, "Internal error", "The request is not the cause. The error has been logged."},
}

// problem makes a problem of a kind. detail says what to do.
func problem(kind, field, detail string, args ...any) wire.Problem {
	k := kinds[kind]
	if len(args) > 0 {
		detail = fmt.Sprintf(detail, args...)
	}
	return wire.Problem{Type: kind, Title: k.title, Status: k.status, Detail: detail, Field: field}
}

// fail answers a request whose handler returned an error.
func (r *Router) fail(err error, c echo.Context) {
	res := c.Response()
	if res.Committed {
		return
	}
	var p wire.Problem
	var he *echo.HTTPError
	switch {
	case errors.As(err, &p):
	case errors.As(err, &he) && he.Code == http.StatusNotFound:
		p = problem(wire.ProblemNotFound, "", "Nothing is served at this path; GET /v1/openapi.yaml describes what is.")
	case errors.As(err, &he) && he.Code == http.StatusMethodNotAllowed:
		p = problem(wire.ProblemMethod, "", "%s is not allowed here; use one of: %s.", c.Request().Method, res.Header().Get(echo.HeaderAllow))
	default:
		r.log.Error("request failed", "route", c.Path(), "error", err)
		p = problem(wire.ProblemInternal, "", "The error has been logged; try again in a moment.")
	}
	h := res.Header()
	h.Set(echo.HeaderContentType, wire.ProblemType)
	h.Set(echo.HeaderCacheControl, "no-store")
	h.Del("ETag")
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set(echo.HeaderWWWAuthenticate, `Bearer realm="nearcast"`)
	case http.StatusServiceUnavailable:
		h.Set(echo.HeaderRetryAfter, strconv.Itoa(retryAfterS))
	}
	res.WriteHeader(p.Status)
	if c.Request().Method != http.MethodHead {
		_ = json.NewEncoder(res).Encode(p) // the caller may be gone
	}
}

// retryAfterS is the Retry-After of a 503, in seconds.
const retryAfterS = 5

// getProblem explains a kind of problem. The types of problems are links to it.
func (r *Router) getProblem(c echo.Context) error {
	k, ok := kinds["/problems/"+c.Param("kind")]
	if !ok {
		return echo.ErrNotFound
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "max-age=3600")
	return c.String(http.StatusOK, fmt.Sprintf("%s (HTTP status %d)\n\n%s\n", k.title, k.status, k.help))
}
