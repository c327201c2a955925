package registrar

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// What a stream host may say. It is one that an attacker may have taken over.
var (
	keyForm  = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)         // identity.Identity.Key
	wordForm = regexp.MustCompile(`^[A-Za-z0-9._~+/=-]{0,128}$`) // session, subject, network, customer
	phases   = []wire.Phase{"", wire.PhaseContent, wire.PhaseDisplay, wire.PhaseApp, wire.PhaseReady}
)

const (
	maxDetail = 200 // bytes of a seat's progress in words
	// maxClock is how far ahead of the node's clock a seat's times may be.
	maxClock = time.Second
	// maxUntil is how long a session may last that a seat tells.
	maxUntil = 31 * 24 * time.Hour
)

// checked is what the task's stream host says of its seat, with what the driver knows in
// place of what the stream host has no say in.
func checked(t Task, said wire.Seat, now time.Time) (wire.Seat, error) {
	if said.ID != t.ID {
		return wire.Seat{}, fmt.Errorf("it says that it is another seat: %q", brief(said.ID))
	}
	host, port, err := net.SplitHostPort(said.Address)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || host != t.Host {
		return wire.Seat{}, fmt.Errorf("its address is not one of its node's seat APIs: %q", brief(said.Address))
	}
	switch {
	case !keyForm.MatchString(said.Key):
		return wire.Seat{}, errors.New("its key has not the form of one")
	case !slices.Contains(wire.SeatStates, said.State):
		return wire.Seat{}, fmt.Errorf("its state is unknown: %q", brief(string(said.State)))
	case !slices.Contains(phases, said.Progress.Phase):
		return wire.Seat{}, fmt.Errorf("its phase is unknown: %q", brief(string(said.Progress.Phase)))
	case !wordForm.MatchString(said.Session) || !wordForm.MatchString(said.Subject) || !wordForm.MatchString(said.Network) || !wordForm.MatchString(said.Customer):
		return wire.Seat{}, errors.New("its session has not the form of one")
	case ticket.CheckMeta(said.Meta) != nil:
		return wire.Seat{}, errors.New("its session's meta has not the form of one")
	case said.Progress.Fraction != -1 && !(said.Progress.Fraction >= 0 && said.Progress.Fraction <= 1):
		return wire.Seat{}, errors.New("its progress is out of range")
	case said.Stills != "" && said.Stills != wire.StillsOperator && said.Stills != wire.StillsAdmin:
		return wire.Seat{}, errors.New("it does not say who may look at its picture")
	case said.Prepared && !said.State.Free():
		return wire.Seat{}, errors.New("it waits for Play, and is not idle")
	case said.State.Busy() && said.Session == "":
		return wire.Seat{}, errors.New("it is busy without a session")
	case said.Until.After(now.Add(maxUntil)):
		return wire.Seat{}, errors.New("its session ends too late")
	}
	seat := wire.Seat{
		ID: t.ID, App: t.App, Job: t.Job, Version: t.Version, Node: t.Node,
		Address: said.Address, Key: said.Key, State: said.State, Progress: said.Progress, Since: said.Since.UTC(),
		Session: said.Session, Prepared: said.Prepared, Stills: said.Stills, Subject: said.Subject, Network: said.Network, Customer: said.Customer, Meta: said.Meta, Until: said.Until,
	}
	if said.Session != "" {
		seat.Measured, seat.Quality = said.Measured.Bounded(now), said.Quality.Bounded()
	}
	if latest := now.Add(maxClock); seat.Since.After(latest) {
		seat.Since = now.UTC()
	}
	seat.Progress.Detail = cut(strings.ToValidUTF8(said.Progress.Detail, "?"), maxDetail)
	return seat, nil
}

// cut is at most n bytes of a text, to the end of a character.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "")
}

func brief(text string) string { return cut(strings.ToValidUTF8(text, "?"), 60) }
