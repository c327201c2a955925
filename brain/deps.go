package brain

import (
	"context"
	"errors"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// Fleet is what a brain needs of Consul.
type Fleet interface {
	// WatchSeats calls fn with all live seats at each change, until ctx ends.
	WatchSeats(ctx context.Context, fn func([]wire.Seat))
	// WatchApps calls fn with what is published at each change, until ctx ends.
	WatchApps(ctx context.Context, fn func(map[string]wire.App))
	PublishApp(ctx context.Context, app wire.App) error
	RemoveApp(ctx context.Context, id string) error
	PublishSite(ctx context.Context, info wire.SiteInfo) error
	// WatchSite calls fn with what is published of the site, the zero value while
	// nothing is, at each change until ctx ends.
	WatchSite(ctx context.Context, fn func(wire.SiteInfo))
	// WatchBrains calls fn with the site's brains at each change, until ctx ends.
	WatchBrains(ctx context.Context, fn func([]wire.Instance))
	// UseTicket is true for exactly one caller a session.
	UseTicket(ctx context.Context, session string, used wire.UsedTicket) (bool, error)
	SweepTickets(ctx context.Context) (int, error)
	// Lock waits until it holds key.
	Lock(ctx context.Context, key string) (Lock, error)
}

// Lock is a lock that is held.
type Lock interface {
	// Lost is closed when somebody else may hold it.
	Lost() <-chan struct{}
	Release()
}

// Nomad is what a brain needs of Nomad.
type Nomad interface {
	// Watch calls fn with the whole of what it knows at each change, until ctx
	// ends. fn must not change it.
	Watch(ctx context.Context, fn func(Jobs))
	// Dispatch starts a seat. Calls with the same token start one, for as long
	// as Nomad remembers the first.
	Dispatch(ctx context.Context, app App, token string) (child string, err error)
	// Stop ends a child for good.
	Stop(ctx context.Context, child string) error
	// Live are the ids of an app's children that have not ended, oldest first,
	// as Nomad's servers know them this moment.
	Live(ctx context.Context, app string) ([]string, error)
}

// ErrNoApp is Dispatch's answer where the app is no more.
var ErrNoApp = errors.New("no such app")

// Verifier checks tickets; *ticket.Verifier is one.
type Verifier interface {
	Verify(token string) (ticket.Claims, error)
}

// Jobs is what Nomad has of this product.
type Jobs struct {
	Apps     map[string]App
	Children map[string]Child // by job id
}

// App is an app as its Nomad job describes it.
type App struct {
	ID                          string
	Version                     uint64
	Title, Description, Picture string
	Display                     wire.Display
	Warm, Max                   int
}

// ChildState is how far a dispatched child is, in Nomad's eyes.
type ChildState int

const (
	ChildPending ChildState = iota // not placed yet, or starting on its node
	ChildBlocked                   // no node can take it now
	ChildRunning
	ChildDead
)

// Child is a dispatched child of an app's job: a seat, or about to be one.
type Child struct {
	ID      string
	App     string
	Version uint64 // of the app's job it was dispatched from
	Token   string // idempotency token of the dispatch
	State   ChildState
	Alloc   string
	Created time.Time
	// Why no node takes it, while blocked.
	Why string
	// End is how it died, if it said so.
	End *wire.End
	// Restarting is true where Nomad would start a dead child's task again. A
	// seat serves once: such a child is to be stopped.
	Restarting bool
}
