package driver

import (
	"fmt"
	"time"

	"github.com/hashicorp/nomad/plugins/shared/structs"
	"golang.org/x/sys/unix"
)

// nodeClock is what the kernel knows of the node's clock.
type nodeClock struct {
	known        bool
	synchronised bool          // an NTP client keeps it right
	off          time.Duration // how far it may be off; no meaning unless it is synchronised
}

// readClock asks the kernel. It changes nothing.
func readClock() nodeClock {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return nodeClock{} // some sandboxes do not tell
	}
	unit := time.Microsecond
	if t.Status&unix.STA_NANO != 0 {
		unit = time.Nanosecond
	}
	return nodeClock{
		known: true, synchronised: state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0,
		off: max((time.Duration(t.Offset) * unit).Abs(), time.Duration(t.Maxerror)*time.Microsecond),
	}
}

// attributes are for the fingerprint. The error is rounded up to a power of ten: each
// change of an attribute is a write at Nomad's servers.
func (c nodeClock) attributes(into map[string]*structs.Attribute) {
	if !c.known {
		return
	}
	into["driver.stream.clock.synchronised"] = structs.NewBoolAttribute(c.synchronised)
	if c.synchronised {
		into["driver.stream.clock.error_ms"] = structs.NewIntAttribute(c.errorMS(), "")
	}
}

func (c nodeClock) errorMS() int64 {
	bound := int64(1)
	for bound < c.off.Milliseconds() {
		bound *= 10
	}
	return bound
}

// maxClockError is how far a node's clock may be off. Seats take tickets half a minute
// after their time, and the clocks of router, brain and seat may all differ.
const maxClockError = 10 * time.Second

// notes say what is wrong with the clock, with what to do.
func (c nodeClock) notes() []string {
	switch {
	case !c.known:
	case !c.synchronised:
		return []string{"nothing keeps the node's clock right, and seats with a wrong clock refuse people: run an NTP client such as chrony or systemd-timesyncd"}
	case c.off > maxClockError:
		return []string{fmt.Sprintf("the node's clock may be off by %v, and seats with a wrong clock refuse people: look at the NTP client", c.off.Round(time.Millisecond))}
	}
	return nil
}
