package brain

import (
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
)

// The mark of a used ticket must stay as long as anybody accepts the ticket, even
// if each clock is wrong by half a minute in the worst direction.
func TestMarkOutlivesTheTicket(t *testing.T) {
	t.Parallel()
	const off = 30 * time.Second
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC) // true time
	for _, router := range []time.Duration{-off, 0, off} {
		for _, seat := range []time.Duration{-off, 0, off} {
			for _, sweeper := range []time.Duration{-off, 0, off} {
				claims := ticket.Claims{First: now.Add(router)}
				// Every renewal ends at First + MaxWait.
				lastAccepted := claims.First.Add(ticket.MaxWait + ticket.Leeway).Add(-seat)
				swept := markUntil(claims).Add(-sweeper)
				if !swept.After(lastAccepted) {
					t.Errorf("router %v, seat %v, sweeper %v: swept %v before the ticket's end", router, seat, sweeper, lastAccepted.Sub(swept))
				}
			}
		}
	}
}
