package console

import (
	"context"
	"net/http"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// lookAt gives a still of a session. Who may look is what the app's job says; the seat looks at it again.
// It is in no cache, event or log: only that somebody looked, and at whose session.
func (c *Console) lookAt(r *http.Request) (plan, error) {
	id := r.PathValue("id")
	if !ticket.ValidSession(id) {
		return plan{}, noSession()
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	view, err := c.cfg.Routers.Session(ctx, id)
	if err != nil {
		return plan{}, err
	}
	p := plan{act: wire.ActStill, site: view.Site, on: id, with: map[string]string{"app": view.App}}
	for name, value := range map[string]string{"customer": view.Customer, "subject": view.Subject} {
		if value != "" {
			p.with[name] = value
		}
	}
	if view.Stills == wire.StillsAdmin {
		p.need = wire.RoleAdmin
	}
	p.do = func(ctx context.Context, role wire.ConsoleRole) (any, error) {
		if !wire.MayLook(view.Stills, role) {
			return nil, problem(wire.ProblemForbidden, http.StatusForbidden, "The app's job allows no stills", "Its option stills says who may look at the picture: none, operator or admin.")
		}
		return c.cfg.Routers.Still(ctx, id, role)
	}
	return p, nil
}
