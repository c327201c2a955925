package brain

import (
	"errors"
	"testing"

	"github.com/nearcast/nearcast/internal/wire"
)

// consulRecord is the record of one ticket, as Consul has it.
type consulRecord struct {
	used  wire.UsedTicket
	index uint64
	lose  bool // the next answer
}

func (c *consulRecord) write(want wire.UsedTicket, at uint64) (wire.UsedTicket, uint64, bool, error) {
	written := at == c.index
	if written {
		c.used, c.index = want, c.index+1
	}
	if c.lose {
		c.lose = false
		return wire.UsedTicket{}, 0, false, errors.New("the answer is lost")
	}
	return c.used, c.index, written, nil
}

func seatNamed(id string) wire.UsedTicket { return wire.UsedTicket{Brain: "b", Seat: id} }

func TestTicketUse(t *testing.T) {
	t.Parallel()
	var c consulRecord
	var one, two ticketUse
	name := func(u *ticketUse, seat string, want error) {
		t.Helper()
		if err := u.name(seatNamed(seat), c.write); !errors.Is(err, want) {
			t.Fatalf("name %s: %v, want %v", seat, err, want)
		}
	}
	at := func(u *ticketUse, seat string, chosen bool) {
		t.Helper()
		if u.record.Seat != seat || u.chosen != chosen || c.used.Seat != seat || u.index != c.index {
			t.Fatalf("%+v; the record is %+v", u, c)
		}
	}
	name(&one, "s1", nil)
	at(&one, "s1", true)
	name(&one, "s1", nil) // nothing to write
	if c.index != 1 {
		t.Errorf("the same seat was written again: %+v", c)
	}
	// Another brain is brought to the same seat, and may name no other one by itself.
	name(&two, "s2", nil)
	at(&two, "s1", false)
	name(&two, "s2", nil)
	at(&two, "s1", false)
	// The first one is out, whatever it is offered.
	name(&one, "s3", errMoved)
	at(&two, "s1", false)
	// The seat does not have the session: now another one may be named.
	for err, means := range map[error]refusalMeans{
		errors.New("no answer"): meansAgain, refusal{status: 503}: meansAgain,
		refusal{status: 401}: meansUsed, refusal{status: 403}: meansUsed,
	} {
		if got := two.refused(err); got != means || two.chosen {
			t.Errorf("%v means %v, and leaves %+v", err, got, two)
		}
	}
	if got := two.refused(refusal{status: 409}); got != meansTaken {
		t.Errorf("409 means %v", got)
	}
	name(&two, "s2", nil)
	at(&two, "s2", true)
	for err, means := range map[error]refusalMeans{
		errors.New("no answer"): meansUnreachable, refusal{status: 503}: meansTaken,
		refusal{status: 401}: meansSick, refusal{status: 403}: meansUsed, refusal{status: 410}: meansTaken,
	} {
		if got := two.refused(err); got != means {
			t.Errorf("of a seat that was chosen %v means %v", err, got)
		}
	}
	// An answer of Consul is lost. What was written counts.
	c.lose = true
	if err := two.name(seatNamed("s4"), c.write); err == nil {
		t.Fatal("the lost answer was not noticed")
	}
	name(&two, "s5", nil)
	at(&two, "s4", false)

	c = consulRecord{used: wire.UsedTicket{Brain: "of an earlier version"}, index: 7}
	var three ticketUse
	name(&three, "s1", errTicketUsed)
}
