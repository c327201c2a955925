package seat

import (
	"github.com/nearcast/nearcast/internal/params"
	"github.com/nearcast/nearcast/internal/wire"
)

// defaults are the values of the app's parameters where no session sets them.
func (h *streamHost) defaults() map[string]string {
	values, _ := params.Values(h.spec.Params, nil, params.Token) // checkSpec has done so
	return values
}

// checkParams says why the app does not take the values. The router has checked them,
// with the app's newest version; this seat may be of another.
func (h *streamHost) checkParams(set map[string]string) error {
	_, err := params.Values(h.spec.Params, set, params.Token)
	return err
}

// giveParams gives a new session's parameters to the app: by a file, and to an app that
// does not run yet as it is started. The state machine knows that the seat is spent.
func (h *streamHost) giveParams(session string, set map[string]string) {
	if len(h.spec.Params) == 0 && !h.spec.StartOnClaim {
		return
	}
	values, err := params.Values(h.spec.Params, set, params.Token)
	if err == nil {
		err = h.parts.TellParams(values)
	}
	if err != nil {
		// Else the person would have an app with other parameters than theirs.
		h.log.Error("give parameters to the app", "session", session, "error", err)
		h.state.endWith(fault(wire.CodeConfig, "the app cannot be told its parameters"))
		return
	}
	if h.spec.StartOnClaim {
		h.starting.Go(func() {
			h.stream.waitView()
			if err := h.startApp(h.ctx, values); err != nil && h.ctx.Err() == nil {
				h.state.endWith(asEnd(err, wire.CodeConfig))
			}
		})
	}
}
