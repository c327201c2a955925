package seat

import (
	"errors"
	"maps"
	"net/http"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

var someParams = []wire.Param{{Name: "model", Pattern: "[a-z]+", Default: "robot"}, {Name: "key", Secret: true}}

type values = map[string]string

// An app that runs is told the session's parameters before its person is connected, and
// no other session gets the seat.
func TestParamsOfWarmSeat(t *testing.T) {
	r := newRigWith(t, func(r *rig) { r.spec.Params, r.spec.LeaseS = someParams, 1 }).idle()
	if got := r.started.Load(); got == nil || !maps.Equal(*got, values{"model": "robot", "key": ""}) {
		t.Errorf("started with %v", got)
	}
	conn, status, _ := r.attach(r.ticketWith(ticket.NewSession(), "viewer", values{"model": "car", "key": "k"}))
	if conn == nil {
		t.Fatalf("claim: %d", status)
	}
	testkit.Until(t, "the app to know", func() bool { return r.told.Load() != nil })
	if got := *r.told.Load(); !maps.Equal(got, values{"model": "car", "key": "k"}) {
		t.Errorf("told %v", got)
	}
	// The browser does not come: the seat is spent.
	if end := r.waitEnd(); end.Reason != wire.ReasonLost {
		t.Errorf("ended by %v", end)
	}
}

// A session without parameters leaves the seat as it was.
func TestDefaultsDoNotSpend(t *testing.T) {
	r := newRigWith(t, func(r *rig) { r.spec.Params, r.spec.LeaseS = someParams, 1 }).idle()
	if conn, status, _ := r.attach(r.ticket(ticket.NewSession(), "viewer")); conn == nil {
		t.Fatalf("claim: %d", status)
	}
	testkit.Until(t, "the app to know the defaults", func() bool { return r.told.Load() != nil })
	r.waitState(wire.SeatIdle)
	r.play()
}

func TestParamsThatTheSeatDoesNotTake(t *testing.T) {
	r := newRigWith(t, func(r *rig) { r.spec.Params = someParams }).idle()
	for _, set := range []values{{"model": "NO"}, {"modell": "car"}} {
		_, status, problem := r.attach(r.ticketWith(ticket.NewSession(), "viewer", set))
		if status != http.StatusConflict || problem.Detail == "" {
			t.Errorf("%v: %d %+v", set, status, problem)
		}
	}
	if r.told.Load() != nil {
		t.Errorf("the app was told %v", *r.told.Load())
	}
	r.play() // a refused ticket does not take the seat
}

func TestAppThatCannotBeTold(t *testing.T) {
	r := newRigWith(t, func(r *rig) {
		r.spec.Params = someParams
		r.failure["params"] = errors.New("no such directory")
	}).idle()
	conn, _, _ := r.attach(r.ticketWith(ticket.NewSession(), "viewer", values{"model": "car"}))
	if conn == nil {
		t.Fatal("the claim is refused")
	}
	if end := r.waitEnd(); end.Code != wire.CodeConfig {
		t.Errorf("ended by %v", end)
	}
}

// With start on claim, no app runs before somebody claims the seat.
func TestStartOnClaim(t *testing.T) {
	r := newRigWith(t, func(r *rig) { r.spec.Params, r.spec.StartOnClaim = someParams, true }).idle()
	if got := r.started.Load(); got != nil {
		t.Fatalf("an app was started with %v", *got)
	}
	conn, _, _ := r.attach(r.ticketWith(ticket.NewSession(), "viewer", values{"model": "car"}))
	if conn == nil {
		t.Fatal("the claim is refused")
	}
	testkit.Until(t, "the app", func() bool { return r.started.Load() != nil })
	if got := *r.started.Load(); !maps.Equal(got, values{"model": "car", "key": ""}) {
		t.Errorf("started with %v", got)
	}
	r.app.code = 3
	close(r.app.done)
	if end := r.waitEnd(); end.Reason != wire.ReasonAppExited || end.ExitCode != 3 {
		t.Errorf("ended by %v", end)
	}
}

func TestStartOnClaimFails(t *testing.T) {
	r := newRigWith(t, func(r *rig) {
		r.spec.StartOnClaim = true
		r.failure["app"] = wire.End{Reason: wire.ReasonError, Code: wire.CodeAppNotFound}
	}).idle()
	conn, _, _ := r.attach(r.ticket(ticket.NewSession(), "viewer"))
	if conn == nil {
		t.Fatal("the claim is refused")
	}
	if end := r.waitEnd(); end.Code != wire.CodeAppNotFound {
		t.Errorf("ended by %v", end)
	}
}

// A retired seat without an app ends as others do.
func TestStartOnClaimRetired(t *testing.T) {
	r := newRigWith(t, func(r *rig) { r.spec.StartOnClaim = true }).idle()
	if status := r.post(wire.RetirePath, struct{}{}); status != http.StatusNoContent {
		t.Fatalf("retire: %d", status)
	}
	if end := r.waitEnd(); end.Reason != wire.ReasonRetired {
		t.Errorf("ended by %v", end)
	}
}
