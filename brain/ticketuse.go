package brain

import (
	"errors"
	"net/http"

	"github.com/nearcast/nearcast/internal/wire"
)

// A ticket gives one seat, whichever brains its person comes to, and whichever of these dies
// in the middle of a claim. The ticket's record in Consul names the seat that is claimed
// with it, and is written before the claim is sent. So:
//
//   - A brain that finds a record claims the seat that it names. A seat that the session has
//     claimed, and whose browser has not connected, grants it again.
//   - A brain names another seat only after the one before has answered that it is not the
//     session's. The answer holds: the claim has the record's index (wire.TryHeader), and the
//     seat takes no claim with an earlier one any more, however late that comes.
//   - Each brain that claims writes the record, also where it names the same seat. A brain
//     whose write is not the last can name no other seat.
//   - A seat that a brain has chosen itself, and that does not answer it, is given up without
//     an answer. If it took the claim after all, it waits out its lease: that brain does not
//     listen any more, and no other is led there by the record.

// ticketUse is what a waiter knows of the record of their ticket. Only the person's goroutine
// uses it.
type ticketUse struct {
	record wire.UsedTicket // as this waiter wrote it last
	index  uint64          // 0: this waiter has not written it, or does not know
	// chosen: no claim of another waiter has the seat for the session, or will get it. Only
	// then may another seat be named.
	chosen bool
}

var (
	errTicketUsed = errors.New("the ticket was used, and no seat is known for it")
	errMoved      = errors.New("the person has come to another brain with the same ticket")
	errContended  = errors.New("other brains write the ticket's record all the time")
)

// name makes want.Seat the seat of the ticket, or finds out which one is: see u.record. write is
// Fleet.UseTicket for the session.
func (u *ticketUse) name(want wire.UsedTicket, write func(want wire.UsedTicket, at uint64) (wire.UsedTicket, uint64, bool, error)) error {
	if u.index != 0 && (u.record.Seat == want.Seat || !u.chosen) {
		return nil
	}
	at, chosen := u.index, true
	for range 4 {
		now, index, written, err := write(want, at)
		switch {
		case err != nil:
			*u = ticketUse{} // it may have been written; the next call finds out
			return err
		case written:
			*u = ticketUse{record: now, index: index, chosen: chosen}
			return nil
		case u.index != 0:
			return errMoved
		case now.Seat == "":
			return errTicketUsed
		}
		want.Seat, at, chosen = now.Seat, index, false
	}
	return errContended
}

// refusalMeans is what follows from a claim that was not granted.
type refusalMeans int

const (
	meansTaken       refusalMeans = iota // somebody else has the seat: another one
	meansSick                            // the seat refuses good tickets: another one
	meansUnreachable                     // the seat does not answer: another one
	meansUsed                            // the session was on this seat, or nobody can say
	meansAgain                           // the session may have the seat: come again
)

// refused takes a seat's answer to a claim, and says what it means.
func (u *ticketUse) refused(err error) refusalMeans {
	var r refusal
	answered := errors.As(err, &r)
	switch {
	case answered && (r.status == http.StatusConflict || r.status == http.StatusGone):
		u.chosen = true // the seat takes no earlier claim of the session any more
		return meansTaken
	case answered && r.status == http.StatusForbidden:
		return meansUsed
	case answered && r.status == http.StatusUnauthorized:
		if u.chosen {
			return meansSick
		}
		return meansUsed
	case !u.chosen:
		return meansAgain
	case !answered:
		return meansUnreachable
	}
	return meansTaken
}
