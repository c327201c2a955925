package brain

import (
	"github.com/nearcast/nearcast/internal/trace"
	"github.com/nearcast/nearcast/internal/wire"
)

// traceBroker begins the span of a launch at this brain. It ends when a seat is granted, or with
// what the person is told instead.
func (b *Broker) traceBroker(w *waiter) {
	w.span = b.cfg.Trace.Start(w.claims.Trace, "brain broker", w.session)
	w.span.Set("app", w.app)
	w.span.Set("brain", b.cfg.ID)
}

// traceClaim begins the span of a claim of a seat.
func traceClaim(w *waiter, name string, seat wire.Seat) *trace.Span {
	span := w.span.Child(name)
	span.Set("seat", seat.ID)
	span.Set("node", seat.Node)
	return span
}

// traceOutcome ends the span of a launch that no seat was granted for. After a grant it does
// nothing: the span has ended.
func traceOutcome(span *trace.Span, o outcome) {
	if !span.Recorded() {
		return
	}
	switch m := o.message; {
	case m.Problem != nil:
		span.Fail(m.Problem.Title)
	case m.End != nil:
		span.Set("ended", string(m.End.Reason))
	default:
		span.Set("ended", "the person or the brain is gone")
	}
	span.End()
}
