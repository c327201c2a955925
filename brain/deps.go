package brain

import (
	"context"
	"errors"
	"time"

	"github.com/nearcast/nearcast/brain/events"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// Fleet is what a brain needs of Consul.
type Fleet interface {
	// WatchNodes calls fn with the site's stream nodes at each change, until ctx ends.
	WatchNodes(ctx context.Context, fn func([]wire.Node))
	// WatchApps calls fn with all published apps at each change, until ctx ends.
	WatchApps(ctx context.Context, fn func(map[string]wire.App))
	PublishApp(ctx context.Context, app wire.App) error
	RemoveApp(ctx context.Context, id string) error
	PublishSite(ctx context.Context, info wire.SiteInfo) error
	// WatchSite calls fn with the published site record at each change, until ctx
	// ends. The record is the zero value while nothing is published.
	WatchSite(ctx context.Context, fn func(wire.SiteInfo))
	// WatchBrains calls fn with the site's brains at each change, until ctx ends.
	WatchBrains(ctx context.Context, fn func([]wire.Instance))
	// UseTicket writes a session's record over the one with index at; 0 is none. Of all
	// callers with one index exactly one writes. It returns the record as it is now, its
	// index, and whether this call has written it.
	UseTicket(ctx context.Context, session string, used wire.UsedTicket, at uint64) (now wire.UsedTicket, index uint64, written bool, err error)
	// Leader returns an error unless Consul can be written to now.
	Leader(ctx context.Context) error
	SweepTickets(ctx context.Context) (int, error)
	// Lock waits until it holds key.
	Lock(ctx context.Context, key string) (Lock, error)
}

// Lock is a lock that is held.
type Lock interface {
	// Lost is closed when another brain may hold it.
	Lost() <-chan struct{}
	Release()
}

// Events tells others what happens at the site; *events.Keeper does.
type Events interface {
	// Lead does so until ctx ends. look says what there is, and reports false while that is not known.
	Lead(ctx context.Context, look func() (events.Snapshot, bool))
}

// Nomad is what a brain needs of Nomad.
type Nomad interface {
	// Watch calls fn with what changed, until ctx ends. The first call has All. Calls do
	// not overlap.
	Watch(ctx context.Context, fn func(JobsChange))
	// Dispatch starts a seat. Calls with the same token start one seat, for as long
	// as Nomad remembers the first call.
	Dispatch(ctx context.Context, app App, token string) (child string, err error)
	// Stop ends a child for good.
	Stop(ctx context.Context, child string) error
	// Live returns the ids of an app's children that have not ended, oldest first,
	// as Nomad's servers know them now.
	Live(ctx context.Context, app string) ([]string, error)
}

// ErrNoApp is Dispatch's error where Nomad has no such app.
var ErrNoApp = errors.New("no such app")

// Verifier checks tickets; *ticket.Verifier is one.
type Verifier interface {
	Verify(token string) (ticket.Claims, error)
}

// JobsChange is what changed at Nomad.
type JobsChange struct {
	All      bool           // this is everything: what is not in it is gone
	Apps     map[string]App // new or changed
	GoneApps []string
	// Children are new or changed. A dead one is told once, and then forgotten, unless it
	// is Restarting.
	Children     map[string]Child
	GoneChildren []string // that Nomad has forgotten (purged) without telling of their end
}

// App is an app as its Nomad job describes it.
type App struct {
	ID                          string
	Pool                        string // the node pool of its seats
	Version                     uint64
	Title, Description, Picture string
	Display                     wire.Display
	Access                      wire.Access
	Login                       wire.AppLogin
	// MaxWhenQueued is how long a session of a public app may last while others wait
	// for a seat; 0 is no limit.
	MaxWhenQueued time.Duration
	Warm, Max     int
	// WarmWait is the share of people that may wait for a seat to start, where the brain sizes
	// Warm itself; 0 where Warm is what the job says.
	WarmWait float64
	Params   []wire.Param // what may be set for a session
	// MHz and MemoryMB are what a seat wants of its node.
	MHz, MemoryMB int
	// Problems are what is wrong with the job, in words for its publisher.
	Problems []string
}

// ChildState is how far a child is, as Nomad sees it.
type ChildState int

const (
	ChildPending ChildState = iota // not placed yet, or starting on its node
	ChildBlocked                   // no node can take it now
	ChildRunning
	ChildDead
)

// Child is a dispatched child of an app's job: a seat, or a future one.
type Child struct {
	ID      string
	App     string
	Version uint64 // of the app's job that it was dispatched from
	Token   string // idempotency token of the dispatch
	State   ChildState
	Alloc   string
	Node    string // the name of the allocation's node
	Created time.Time
	// Why says why no node can take it, while it is blocked. Unfit is true where the job itself excludes all nodes
	// that are there, however empty they are.
	Why   string
	Unfit bool
	// End is how it died, if that is known.
	End *wire.End
	// Restarting is true where Nomad would start a dead child's task again. A seat
	// serves once, so such a child is to be stopped.
	Restarting bool
}
