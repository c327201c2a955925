package wire

import "time"

// Consul service names and KV places. A site is a Consul datacenter.
const (
	RouterService = "nearcast-router"
	BrainService  = "nearcast-brain"

	// AppsPrefix + app id holds an App. Written by the brain that holds PoolLock.
	AppsPrefix = "nearcast/apps/"
	// TicketsPrefix + session id holds a UsedTicket. Each write is a check-and-set: only
	// the brain whose write was the last may claim a seat with the ticket.
	TicketsPrefix = "nearcast/tickets/"
	// PoolLock is held by the one brain of a site that keeps warm pools.
	PoolLock = "nearcast/brain/pool"
	// SiteKey holds a SiteInfo.
	SiteKey = "nearcast/site"
	// LaunchKeysPrefix + key id holds a LaunchKey, at each site. Written by operators.
	LaunchKeysPrefix = "nearcast/launch-keys/"
	// APIKeysPrefix + key id holds an APIKey, at each site. Written by operators.
	APIKeysPrefix = "nearcast/api-keys/"
)

// App is what the brains of a site publish of an app: what it is, and the
// capacity that the site has for it. Routers need nothing else, and never see seats.
type App struct {
	ID          string `json:"id"`      // the Nomad job id
	Version     uint64 `json:"version"` // of the Nomad job
	Title       string `json:"title"`
	Description string `json:"description,omitempty"`
	// Picture is a URL, or a path on the router.
	Picture string `json:"picture,omitempty"`
	// Access says who may launch it; anything but AccessPublic and AccessLogin means AccessSigned.
	Access Access `json:"access,omitempty"`
	// Login says whose login is enough, with AccessLogin.
	Login   AppLogin `json:"login,omitzero"`
	Display Display  `json:"display"`
	// Params are what may be set for a session of the app.
	Params   []Param   `json:"params,omitempty"`
	Capacity Capacity  `json:"capacity"`
	Updated  time.Time `json:"updated"`
}

// Param is a parameter that an app declares; see internal/params.
type Param struct {
	Name    string `json:"name"`
	Pattern string `json:"pattern,omitempty"` // of a whole value; empty is any text
	Default string `json:"default,omitempty"`
	Secret  bool   `json:"secret,omitempty"` // only a launch token can set it
}

// Access says who may launch an app.
type Access string

const (
	AccessPublic Access = "public" // everybody
	AccessSigned Access = "signed" // who has a launch token
	AccessLogin  Access = "login"  // who has logged in at the provider, or has a launch token
)

// AppLogin says who may launch an app that asks for a login: who is in one of the groups, or is one of
// the subjects. Without both, each person that the provider knows.
type AppLogin struct {
	Groups   []string `json:"groups,omitempty"`
	Subjects []string `json:"subjects,omitempty"`
}

// LaunchKey is a key with which a customer's server signs launch tokens.
type LaunchKey struct {
	ID   string `json:"id"`   // what a token's kid names; follows from the key
	Name string `json:"name"` // for operators
	// PublicKey is an Ed25519 key in PEM.
	PublicKey string `json:"public_key"`
	// Apps are the apps it may sign for; without them, every app.
	Apps    []string  `json:"apps,omitempty"`
	Created time.Time `json:"created"`
}

// APIKey is a key with which a customer's server reads and ends the customer's sessions.
type APIKey struct {
	ID       string   `json:"id"`
	Customer string   `json:"customer"` // the name of the customer's launch keys
	Scopes   []string `json:"scopes"`
	// SHA256 is that of the whole key, in hex.
	SHA256  string    `json:"sha256"`
	Created time.Time `json:"created"`
}

// Capacity is how many seats an app has at a site, and in which state.
type Capacity struct {
	Idle     int `json:"idle"`
	Busy     int `json:"busy"`
	Starting int `json:"starting"`
	Queued   int `json:"queued"` // people waiting
	Warm     int `json:"warm"`   // idle seats the pool aims at
	Max      int `json:"max"`    // seats of any state the app may have here
	// ColdStartMS is what dispatch → idle took of late at this site (median);
	// 0 while nobody knows.
	ColdStartMS int64 `json:"cold_start_ms"`
	// SessionMS is how long sessions were of late at this site (mean); 0 while
	// nobody knows. The length of a queue follows from it.
	SessionMS int64 `json:"session_ms"`
	// Failing says why seats fail to start, while they do, as the public may know it.
	Failing string `json:"failing,omitempty"`
}

// SiteInfo is what a site says of itself. The brain that holds PoolLock writes it.
type SiteInfo struct {
	Site string `json:"site"`
	// Residency names the jurisdictions the site lies in: "eu", "de".
	Residency []string `json:"residency,omitempty"`
	// GPU names the classes of GPU its nodes have: "nvidia-l4".
	GPU     []string  `json:"gpu,omitempty"`
	Updated time.Time `json:"updated"`
}

// Instance is a router or a brain as Consul knows it.
type Instance struct {
	ID   string `json:"id"`
	Site string `json:"site"`
	// URL is where browsers reach it: http(s):// for a router, ws(s):// for a brain.
	URL string `json:"url"`
	// Address is host:port inside the site.
	Address string `json:"address"`
	// Internal is host:port of the internal listener, for the site's own processes.
	Internal string `json:"internal,omitempty"`
	// Key is the fingerprint of the process's public key, by which the other parts of
	// the site know it (internal/identity).
	Key     string `json:"key,omitempty"`
	Healthy bool   `json:"healthy"`
	// Room is how many more people a brain can take.
	Room Room `json:"room,omitempty"`
}

// Room is how much room a brain has. It is a class, so that it is seldom written.
type Room string

const (
	RoomEnough Room = ""
	// RoomBusy: it takes people, and another brain is better.
	RoomBusy Room = "busy"
	// RoomFull: it would refuse most of those who come.
	RoomFull Room = "full"
)

// UsedTicket says that a session's ticket is used at a site, and for which seat. Who comes
// with the ticket again is brought to that seat. Another seat is named only after that one has
// said that the session does not have it.
type UsedTicket struct {
	Brain   string    `json:"brain"`
	Expires time.Time `json:"expires"` // of the ticket; the record may go after it
	Seat    string    `json:"seat,omitempty"`
}
