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

// kind is what holds of every problem of a kind.
type kind struct {
	status int
	title  string
	help   string // what /problems/<kind> says
}

var kinds = map[string]kind{
	wire.ProblemMalformed:   {http.StatusBadRequest, "The request body cannot be read", "The body is not JSON, a value is of the wrong type, or a field is unknown or given twice. \"field\" points to it."},
	wire.ProblemInvalid:     {http.StatusUnprocessableEntity, "A value cannot be", "The body is well-formed, but the value that \"field\" points to cannot be."},
	wire.ProblemTooLarge:    {http.StatusRequestEntityTooLarge, "The request body is too large", "A request body has at most 65536 bytes."},
	wire.ProblemMediaType:   {http.StatusUnsupportedMediaType, "The request body is not JSON", "Send the body with Content-Type: application/json."},
	wire.ProblemUnknownApp:  {http.StatusNotFound, "There is no such app", "GET /v1/apps lists the apps. An app that was published a moment ago may take a second to appear."},
	wire.ProblemUnknownSite: {http.StatusUnprocessableEntity, "There is no such site", "GET /v1/sites lists the sites. \"field\" points to the name that is not among them."},
	wire.ProblemNotFound:    {http.StatusNotFound, "There is nothing here", "The path is wrong, or what it named is gone: a session, for one, is forgotten once it has ended."},
	wire.ProblemMethod:      {http.StatusMethodNotAllowed, "The method does not fit the path", "The header Allow names the methods that do."},
	wire.ProblemTicket:      {http.StatusUnauthorized, "The ticket is not good", "It is missing, expired, for another session, or not a ticket at all. POST /v1/sessions gives a new one."},
	wire.ProblemTicketUsed:  {http.StatusForbidden, "The ticket was used before", "A ticket opens one session, once. POST /v1/sessions gives a new one."},
	wire.ProblemResume:      {http.StatusGone, "The session is over", "The session that the resume token names has ended. POST /v1/sessions starts another."},
	wire.ProblemNoSite:      {http.StatusServiceUnavailable, "No site can serve this now", "\"detail\" gives each site's reason. A site whose seats are all taken is no reason: people queue there."},
	wire.ProblemStartFailed: {http.StatusServiceUnavailable, "Seats of this app fail to start", "\"detail\" says why. Whoever operates the app has to look into it."},
	wire.ProblemUnavailable: {http.StatusServiceUnavailable, "This cannot be answered now", "Try again in a moment, or at another router."},
	wire.ProblemInternal:    {http.StatusInternalServerError, "Something broke", "It is not the request's fault, and has been logged."},
}

// problem makes a problem of a kind. detail says what to do about it.
func problem(kind, field, detail string, args ...any) wire.Problem {
	k := kinds[kind]
	if len(args) > 0 {
		detail = fmt.Sprintf(detail, args...)
	}
	return wire.Problem{Type: kind, Title: k.title, Status: k.status, Detail: detail, Field: field}
}

// fail answers a request whose handler returned err.
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
		p = problem(wire.ProblemNotFound, "", "Nothing is served under this path; GET /v1/openapi.yaml says what is.")
	case errors.As(err, &he) && he.Code == http.StatusMethodNotAllowed:
		p = problem(wire.ProblemMethod, "", "%s does not fit here; use one of: %s.", c.Request().Method, res.Header().Get(echo.HeaderAllow))
	default:
		r.log.Error("a request failed", "route", c.Path(), "error", err)
		p = problem(wire.ProblemInternal, "", "It has been logged.")
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
		_ = json.NewEncoder(res).Encode(p) // whoever asked may be gone
	}
}

// retryAfterS is when it makes sense to ask again after a 503.
const retryAfterS = 5

// getProblem explains a kind of problem: the types are links to here.
func (r *Router) getProblem(c echo.Context) error {
	k, ok := kinds["/problems/"+c.Param("kind")]
	if !ok {
		return echo.ErrNotFound
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "max-age=3600")
	return c.String(http.StatusOK, fmt.Sprintf("%s (HTTP status %d)\n\n%s\n", k.title, k.status, k.help))
}
