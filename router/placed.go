package router

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// Why a person is where they are: each router remembers how it placed its last sessions, in memory
// alone. It is for operators who look into a complaint. A ticket or a seat's record would carry it
// with each session, for the few that are ever asked about.

const (
	// maxPlaced is how many launches a router remembers, and maxPlacedSites how many sites of each:
	// 3 MB in all.
	maxPlaced      = 2000
	maxPlacedSites = 12
)

// placements are the last launches, in a ring. The zero value is ready.
type placements struct {
	mu   sync.Mutex
	ring []placedLaunch
	next int
	at   map[string]int // by session
}

type placedLaunch struct {
	session     string
	time        time.Time
	preferences wire.Preferences
	candidates  []wire.Candidate
}

// note remembers a launch. It copies the candidates, and uses the memory of the launch that it forgets.
func (p *placements) note(session string, preferences wire.Preferences, candidates []wire.Candidate, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at == nil {
		p.at = make(map[string]int)
	}
	if len(p.ring) < maxPlaced {
		p.ring = append(p.ring, placedLaunch{})
	}
	one := &p.ring[p.next]
	delete(p.at, one.session)
	one.session, one.time, one.preferences = session, now, preferences
	one.candidates = append(one.candidates[:0], candidates[:min(len(candidates), maxPlacedSites)]...)
	p.at[session] = p.next
	p.next = (p.next + 1) % maxPlaced
}

// of is how a session was placed.
func (p *placements) of(session string) (out wire.ConsolePlacement, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.at[session]
	if !ok {
		return out, false
	}
	one := &p.ring[i]
	out = wire.ConsolePlacement{At: one.time.UTC(), Preferences: one.preferences, Candidates: append([]wire.Candidate(nil), one.candidates...)}
	for i := range out.Candidates {
		out.Candidates[i].BrainURL = "" // it says nothing of why
	}
	return out, true
}

// getPlacement serves wire.PlacementPath, for operators alone.
func (r *Router) getPlacement(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	token, _ := bearer(c.Request())
	if !r.operators.is(token) {
		return problem(wire.ProblemTicket, "", "How a session was placed is for operators: send an operator's token, as: Authorization: Bearer <token>.")
	}
	id := c.Param("id")
	if out, ok := r.placed.of(id); ok {
		out.Entry, out.Router = r.cfg.Site, r.cfg.URL
		return c.JSON(http.StatusOK, out)
	}
	if ticket.ValidSession(id) && c.Request().Header.Get(forwardedHeader) == "" {
		if out, ok := r.askPlacement(c.Request().Context(), id, token); ok {
			return c.JSON(http.StatusOK, out)
		}
	}
	return problem(wire.ProblemNotFound, "", "No router of this site that answers remembers this launch: each keeps its last %d, and forgets them when it ends.", maxPlaced)
}

// askPlacement asks the other routers of this site, which stand behind the same URL.
func (r *Router) askPlacement(ctx context.Context, id, token string) (out wire.ConsolePlacement, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	table, err := r.siteTable()
	if err != nil {
		return out, false
	}
	i, ok := table.index[r.cfg.Site]
	if !ok {
		return out, false
	}
	answers := make(chan *wire.ConsolePlacement, maxSiblings)
	asked := 0
	for _, other := range table.view.Sites[i].Routers {
		if !other.Healthy || other.Address == "" || asked == maxSiblings || other.Key == r.cfg.Identity.Key() {
			continue
		}
		asked++
		go func() {
			var found wire.ConsolePlacement
			if err := r.fetchPlacement(ctx, other.Address, id, token, &found); err != nil {
				answers <- nil
				return
			}
			answers <- &found
		}()
	}
	for range asked {
		if found := <-answers; found != nil {
			return *found, true
		}
	}
	return out, false
}

// fetchPlacement asks one router. The token goes the way on which the load balancer sends it, too.
func (r *Router) fetchPlacement(ctx context.Context, address, id, token string, into *wire.ConsolePlacement) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+wire.SessionsPath+"/"+id+wire.PlacementPath, nil)
	if err != nil {
		return err
	}
	req.Header.Set(forwardedHeader, r.cfg.Site)
	req.Header.Set(echo.HeaderAuthorization, "Bearer "+token)
	res, err := r.inside.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", res.Status)
	}
	return json.NewDecoder(io.LimitReader(res.Body, wire.MaxBody)).Decode(into)
}

// maxSiblings is how many routers of the site are asked.
const maxSiblings = 16
