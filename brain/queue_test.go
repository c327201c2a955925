package brain

import (
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// Who has her verdict is in line until she has read it: no seat is hers any
// more, neither one that is free nor one to be dispatched.
func TestNoSeatAfterTheVerdict(t *testing.T) {
	t.Parallel()
	person := func(session string) *waiter {
		return newWaiter(ticket.Claims{Session: session, App: "game"}, "", time.Now())
	}
	leaving, staying := person("leaving"), person("staying")
	leaving.end(verdict{code: wire.CloseEnded})
	leaving.end(verdict{code: wire.CloseReplaced})
	if v := <-leaving.verdict; v.code != wire.CloseEnded {
		t.Errorf("the verdict was %d, want the first", v.code)
	}
	queue{leaving, staying}.offer([]wire.Seat{{ID: "a"}}, map[string]*life{"a": {}})
	if leaving.seat != "" || staying.seat != "a" {
		t.Errorf("seats: %q who leaves, %q who stays", leaving.seat, staying.seat)
	}
	if leaving.waits() || staying.waits() {
		t.Error("neither is to have a seat dispatched")
	}
}
