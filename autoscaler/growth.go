package autoscaler

import (
	"time"

	"github.com/nearcast/nearcast/internal/sizing"
	"github.com/nearcast/nearcast/internal/wire"
)

// look is what is seen of a group's nodes.
type look struct {
	count  int // that the group is to have
	ending int // of these, those that the target drains
	taking int // those that Nomad places seats on; -1 is not known
	most   int // that it may have; 0 is not known
	at     time.Time
}

// sized is a pool that is sized again and again.
type sized struct {
	sizing.Sizer
	count int // that it had last
	// rose is when it had more than before last, short since when fewer nodes take people than it has: some start,
	// or are replaced. Zero is never, or that nobody saw it.
	rose, short time.Time
}

func (z *sized) looks(l look) {
	if l.at.Before(z.rose) {
		z.rose = time.Time{}
	}
	if l.count > z.count {
		z.rose = l.at
	}
	z.count = l.count
	switch {
	case l.taking < 0 || l.taking >= l.count-l.ending:
		z.short = time.Time{}
	case z.short.IsZero() || l.at.Before(z.short):
		z.short = l.at
	}
}

// leastWait is how long people wait for a node at least, where one may come.
const leastWait = 5 * time.Minute

// growth is what people of a pool may expect who find no node. They wait for as long as four nodes take that are
// requested one after the other: where nodes carry fewer seats than the policy says, the Sizer requests one
// after twice that time, and it may be late. A pool that has its most nodes gets no more, but for those that
// were requested, or are replaced, within that time. blocked says that some seats find no node now.
func (z *sized) growth(ready time.Duration, d sizing.Decision, blocked bool, l look) wire.Growth {
	wait := max(leastWait, 4*ready)
	within := func(since time.Time, most time.Duration) bool { return !since.IsZero() && l.at.Sub(since) < most }
	g := wire.Growth{Hopeless: d.Hopeless.Milliseconds()}
	more := l.most == 0 || l.count < l.most
	if !more && !within(z.rose, wait) && !within(z.short, wait) {
		return g
	}
	g.Wait = wait.Milliseconds()
	switch {
	case within(z.rose, ready):
		g.Ready = (ready - l.at.Sub(z.rose)).Milliseconds()
	case within(z.short, ready):
		g.Ready = (ready - l.at.Sub(z.short)).Milliseconds()
	case d.Nodes > l.count-l.ending || more && !blocked:
		g.Ready = ready.Milliseconds()
	}
	return g // in all other cases a node is late, or none is requested yet
}
