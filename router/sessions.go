package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// A router keeps no sessions. It asks the brains: each knows the seats of its site
// and the people that wait in its queues. A session's id is 128 random bits that
// only its owner and the operators have, so knowing it is permission enough.

// askTimeout bounds a request to a brain. Brains answer from memory.
const askTimeout = 3 * time.Second

// errUnknown is returned for a brain that does not know the session.
var errUnknown = errors.New("the brain does not know the session")

func (r *Router) getSession(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	view, err := ask(r, c, http.MethodGet, func(res *http.Response, from brainRef) (wire.SessionView, error) {
		var view wire.SessionView
		if err := json.NewDecoder(io.LimitReader(res.Body, wire.MaxBody)).Decode(&view); err != nil {
			return view, fmt.Errorf("ask brain: decode answer: %w", err)
		}
		if view.Site == "" {
			view.Site = from.site
		}
		return view, nil
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, view)
}

func (r *Router) deleteSession(c echo.Context) error {
	_, err := ask(r, c, http.MethodDelete, func(*http.Response, brainRef) (struct{}, error) {
		return struct{}{}, nil
	})
	if err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// brainRef is a brain to ask.
type brainRef struct{ site, id, address string }

// ask sends a request about a session to all brains of all sites at once, and
// takes the first answer of one that knows it.
func ask[T any](r *Router, c echo.Context, method string, read func(*http.Response, brainRef) (T, error)) (T, error) {
	var none T
	id := c.Param("id")
	if !ticket.ValidSession(id) {
		return none, problem(wire.ProblemNotFound, "", "There is no such session.")
	}
	table, err := r.siteTable()
	if err != nil {
		return none, err
	}
	var brains []brainRef
	unasked := 0 // sites with apps and without a healthy brain
	for _, s := range table.view.Sites {
		before := len(brains)
		for _, b := range s.Brains {
			if b.Healthy {
				brains = append(brains, brainRef{s.Name, b.ID, b.Address})
			}
		}
		if len(brains) == before && len(s.Apps) > 0 {
			unasked++
		}
	}

	ctx, cancel := context.WithTimeout(c.Request().Context(), askTimeout)
	defer cancel()
	type answer struct {
		value T
		err   error
		from  brainRef
	}
	answers := make(chan answer, len(brains)) // no goroutine blocks when the first answer is taken
	for _, b := range brains {
		go func() {
			value, err := askOne(ctx, r.brains, method, id, b, read)
			answers <- answer{value, err, b}
		}()
	}
	failed := 0
	for range brains {
		a := <-answers
		if a.err == nil {
			return a.value, nil
		}
		if !errors.Is(a.err, errUnknown) {
			failed++
			r.log.Warn("brain did not answer", "brain", a.from.id, "site", a.from.site, "error", a.err)
		}
	}
	if failed+unasked > 0 {
		return none, problem(wire.ProblemUnavailable, "", "The brains that answered do not know this session, but some brains did not answer; try again in a moment.")
	}
	return none, problem(wire.ProblemNotFound, "", "There is no such session, or it has ended.")
}

func askOne[T any](ctx context.Context, client *http.Client, method, id string, b brainRef, read func(*http.Response, brainRef) (T, error)) (T, error) {
	var none T
	req, err := http.NewRequestWithContext(ctx, method, "http://"+b.address+"/v1/sessions/"+id, nil)
	if err != nil {
		return none, fmt.Errorf("ask brain: %w", err)
	}
	res, err := client.Do(req)
	if err != nil {
		return none, fmt.Errorf("ask brain: %w", err)
	}
	defer func() {
		_, _ = io.CopyN(io.Discard, res.Body, wire.MaxBody) // so that the connection can be reused
		res.Body.Close()
	}()
	switch {
	case res.StatusCode/100 == 2:
		return read(res, b)
	case res.StatusCode == http.StatusNotFound, res.StatusCode == http.StatusGone:
		return none, errUnknown
	}
	return none, fmt.Errorf("ask brain: status %s", res.Status)
}
