package router

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// maxStillRequest bounds a question for a still in bytes.
const maxStillRequest = 4 << 10

// postStill serves wire.StillPath, for operators alone. It finds the site that has the session, and asks
// there: a brain, or a router of another site.
func (r *Router) postStill(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	token, _ := bearer(c.Request())
	if !r.operators.is(token) {
		return problem(wire.ProblemTicket, "", "A still of a session is for operators: send an operator's token, as: Authorization: Bearer <token>.")
	}
	id := c.Param("id")
	if !ticket.ValidSession(id) {
		return problem(wire.ProblemNotFound, "", "There is no such session.")
	}
	var ask wire.StillRequest
	d := json.NewDecoder(http.MaxBytesReader(c.Response(), c.Request().Body, maxStillRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(&ask); err != nil {
		return problem(wire.ProblemMalformed, "", "Send the session and a role as JSON.")
	}
	if ask.Session != id || ask.Role != wire.RoleOperator && ask.Role != wire.RoleAdmin {
		return problem(wire.ProblemInvalid, "/role", "The session is that of the path, and the role %s or %s.", wire.RoleOperator, wire.RoleAdmin)
	}
	view, err := r.askSites(c, r.toAsk(c, question{method: http.MethodGet, session: id, token: token, operator: true}))
	if err != nil {
		return err
	}
	out, err := r.still(c.Request().Context(), view.Site, ask, token)
	var p wire.Problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, errUnknown):
		return problem(wire.ProblemNotFound, "", "There is no such session, or it has ended.")
	case err != nil:
		r.log.Warn("a site gives no still", "site", view.Site, "session", id, "error", err)
		return problem(wire.ProblemUnavailable, "", "The site of this session does not answer; try again in a moment.")
	}
	r.log.Info("somebody looks at a still", "session", id, "role", ask.Role)
	return c.JSON(http.StatusOK, out)
}

// still asks the site that has a session for a still of it.
func (r *Router) still(ctx context.Context, site string, ask wire.StillRequest, token string) (out wire.Still, err error) {
	table, err := r.siteTable()
	if err != nil {
		return out, err
	}
	i, ok := table.index[site]
	if !ok {
		return out, errUnknown
	}
	// The way there takes longer than to another process of the same site.
	ctx, cancel := context.WithTimeout(ctx, wire.StillWithin+askTimeout)
	defer cancel()
	s := &table.view.Sites[i]
	if site != r.cfg.Site {
		there, ok := pick(s.Routers, r.cfg.Chance)
		if !ok {
			return out, errors.New("no healthy router")
		}
		return r.sendStill(ctx, r.inside, strings.TrimRight(there.URL, "/"), ask, token)
	}
	err = errors.New("no healthy brain")
	for _, b := range s.Brains {
		if !b.Healthy || b.Internal == "" {
			continue
		}
		// Each brain knows all seats of its site; one that began a moment ago may not.
		var p wire.Problem
		if out, err = r.sendStill(ctx, r.brains.To(b.Key), "https://"+b.Internal, ask, ""); err == nil || errors.As(err, &p) || ctx.Err() != nil {
			return out, err
		}
	}
	return out, err
}

// sendStill asks one process.
func (r *Router) sendStill(ctx context.Context, client *http.Client, base string, ask wire.StillRequest, token string) (out wire.Still, err error) {
	body, err := json.Marshal(ask)
	if err != nil {
		return out, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+wire.SessionsPath+"/"+ask.Session+wire.StillPath, bytes.NewReader(body))
	if err != nil {
		return out, err
	}
	req.Header.Set(forwardedHeader, r.cfg.Site)
	req.Header.Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	if token != "" {
		req.Header.Set(echo.HeaderAuthorization, "Bearer "+token)
	}
	patient := *client
	patient.Timeout = 0 // ctx has it: a still takes longer than other answers
	res, err := patient.Do(req)
	if err != nil {
		return out, fmt.Errorf("ask for a still: %w", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, wire.MaxStillBody+1))
	if err != nil {
		return out, fmt.Errorf("read a still: %w", err)
	}
	if len(text) > wire.MaxStillBody {
		return out, fmt.Errorf("a still of more than %d bytes", wire.MaxStillBody)
	}
	switch res.StatusCode {
	case http.StatusOK:
		if err := json.Unmarshal(text, &out); err != nil {
			return out, fmt.Errorf("decode a still: %w", err)
		}
		return out, nil
	case http.StatusNotFound, http.StatusGone, http.StatusMethodNotAllowed: // the last one of an earlier release
		return out, errUnknown
	case http.StatusForbidden, http.StatusConflict, http.StatusTooManyRequests:
		var p wire.Problem
		if json.Unmarshal(text, &p) == nil && p.Status == res.StatusCode {
			return out, p
		}
	}
	return out, fmt.Errorf("status %s", res.Status)
}
