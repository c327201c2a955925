package wire

// AutoscalerService is the Consul service name of a site's autoscaler. It serves nothing: by
// its record brains know its key (internal/identity).
const AutoscalerService = "nearcast-autoscaler"

// DemandPath is where a brain's internal listener says what it knows of people and seats:
// GET, a Demand. Only the site's autoscaler may ask. Nothing of this is written to Consul.
//
// A site has several brains, and the autoscaler asks all of them. Each brain sees the seats
// of all nodes and the queues of all brains, so counts and durations of one brain are those of the site;
// where brains differ for a moment, the larger count is taken, so that no node is missing.
// Arrivals are of the people who came to that one brain: they are added up.
const DemandPath = "/v1/demand"

// MaxDemand is how many bytes of a Demand are read.
const MaxDemand = 4 << 20

// SparePath is where a brain's internal listener is told that a pool needs fewer nodes than it has:
// POST, a Spare, while that is so, at each evaluation. Only the site's autoscaler may tell. The leader
// retires idle seats then until no more nodes than that have seats: only empty nodes are removed.
const SparePath = "/v1/spare"

// MaxSpare is how many bytes of a Spare are read.
const MaxSpare = 64 << 10

// Spare says how many nodes a pool is to have.
type Spare struct {
	// Pools are the node pools that the jobs of the apps name.
	Pools []string `json:"pools"`
	Nodes int      `json:"nodes"`
}

// GrowthPath is where a brain's internal listener is told whether a pool may get nodes: POST, a Growth, at
// each evaluation. Only the site's autoscaler may tell. Where no node of the pool takes an app's first seat, people
// wait for one while a node may come, and are ended at once where none can.
const GrowthPath = "/v1/growth"

// MaxGrowth is how many bytes of a Growth are read.
const MaxGrowth = 64 << 10

// Growth says what the people of a pool without a node may expect.
type Growth struct {
	// Policy tells the policies apart that name the same pools.
	Policy string `json:"policy,omitempty"`
	// Pools are the node pools that the jobs of the apps name.
	Pools []string `json:"pools"`
	// Wait is how long somebody may wait for a node in all; 0 where the pool gets none. Ready is in what time from
	// now the next node is ready, also one that is requested when somebody comes; 0 is not known.
	Wait  int64 `json:"wait_ms"`
	Ready int64 `json:"ready_ms"`
	// Hopeless is how long ago a node more was requested for the seats that find none, where it did not help: nobody
	// waits for a node for an app whose seats have found none since before that. 0 where none is known.
	Hopeless int64 `json:"hopeless_ms,omitempty"`
}

// Demand is what a brain knows of the people and seats of its site.
type Demand struct {
	Site  string `json:"site"`
	Brain string `json:"brain"`
	// Known is false until the brain has heard of all nodes and of Nomad, and while it hears no node
	// though seats run: then the counts of seats are too small.
	Known bool `json:"known"`
	// Apps are those that Nomad has, and those that have seats still, by id.
	Apps []AppDemand `json:"apps"`
}

// AppDemand is what a brain knows of the people and seats of an app.
type AppDemand struct {
	App string `json:"app"`
	// Pool is the node pool that its job names; "all" is every pool.
	Pool string `json:"pool"`

	Busy     int `json:"busy"` // with a person, or ending after one
	Idle     int `json:"idle"`
	Starting int `json:"starting"`
	Queued   int `json:"queued"`  // people who wait without a seat
	Blocked  int `json:"blocked"` // seats that no node can take
	Warm     int `json:"warm"`    // idle seats that the pool aims at now
	Max      int `json:"max"`

	// Arrivals are how many people came to this brain of late, the shortest window first.
	// A person who comes again with the same session is counted once.
	Arrivals []Arrivals `json:"arrivals"`
	// Played is how long people had seats, all together, within an hour or so, and Ended how many
	// sessions ended in that time. Played by Ended is the mean length of a session, also while most people
	// have just come: short sessions end first, so a mean over ended sessions alone would be too small.
	// What is older counts less, by exp(-age/1h).
	Played int64   `json:"played_ms"`
	Ended  float64 `json:"ended"`
	// Sessions is how long the sessions were that ended last, Starts how long seats took from
	// their dispatch until they were ready.
	Sessions Lengths `json:"sessions"`
	Starts   Lengths `json:"starts"`
}

// Arrivals is how many people came within a window that ends now. The window is shorter where
// the brain is younger.
type Arrivals struct {
	WindowMS int64 `json:"window_ms"`
	Count    int   `json:"count"`
}

// Lengths says how long something took, the last times that it was measured.
type Lengths struct {
	Count int   `json:"count"` // how often it was measured, 32 at most
	Mean  int64 `json:"mean_ms"`
	P50   int64 `json:"p50_ms"`
	P90   int64 `json:"p90_ms"`
}
