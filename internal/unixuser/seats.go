package unixuser

import "fmt"

// Range is a range of uids, with both ends.
type Range struct{ Min, Max int }

func (r Range) String() string { return fmt.Sprintf("%d-%d", r.Min, r.Max) }

// Contains reports whether a uid is of the range.
func (r Range) Contains(uid int) bool { return r.Min <= uid && uid <= r.Max }

// Seats are the uids of a node's seats: the default of the driver's option users, and what
// provision's firewall looks at. No account, no container and no user namespace has uids
// that high by default; above 2^31-1 some programs read them as negative.
var Seats = Range{2_000_000_000, 2_000_019_999}

// Split divides the uids of seats: the first half is for apps, and the other one for
// stream hosts. Each half has one uid for each seat that lives. A gid is equal to its uid.
func (r Range) Split() (apps, streamHosts Range) {
	half := (r.Max - r.Min + 1) / 2
	return Range{r.Min, r.Min + half - 1}, Range{r.Min + half, r.Min + 2*half - 1}
}

// Validate says what is wrong with a range for seats.
func (r Range) Validate() error {
	switch {
	case r.Min < 1000:
		return fmt.Errorf("min is %d: it must be 1000 or more, because lower uids are the system's", r.Min)
	case r.Max > 1<<31-2:
		return fmt.Errorf("max is %d: it must be %d or less", r.Max, 1<<31-2)
	case r.Max <= r.Min:
		return fmt.Errorf("max is %d and min is %d: the range must have two uids for each seat", r.Max, r.Min)
	}
	return nil
}
