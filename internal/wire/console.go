package wire

import "time"

// The console's page and its service speak this: browser → console, below ConsolePath, same
// origin. The page has a cookie from /console/login. Answers that are no success are a Problem: 401
// where the person has to log in (the page goes to ConsoleLoginPath?next=<path>), 403 where the role
// does not suffice. A request that changes something has the header ConsoleCSRFHeader.
//
//	GET    /console/api/me                          ConsoleMe
//	GET    /console/api/events                      text/event-stream of ConsoleEvent
//	GET    /console/api/sessions/{id}               ConsoleSession
//	DELETE /console/api/sessions/{id}               204; operator: the session ends
//	POST   /console/api/sessions/{id}/still         Still; operator or admin, as the app's job has it
//	POST   /console/api/nodes/{site}/{node}         ConsoleNodeOrder → 204; operator. {node} is ConsoleNode.ID
//	GET    /console/api/apps/{site}/{app}           ConsoleAppDetail: its versions
//	POST   /console/api/apps/{site}/{app}/scale     ConsoleScale → ConsolePublished; admin
//	POST   /console/api/apps/{site}/{app}/revert    ConsoleRevert → ConsolePublished; admin
//	POST   /console/api/apps/{site}                 ConsolePublish → ConsolePublished; admin
//	GET    /console/api/audit                       ConsoleAudit; operator
//	GET    /console/login, /console/callback,
//	       /console/entered                         pages
//	POST   /console/logout                          204. GET is the page after it
//
// # Events
//
// The first event of a stream is named "snapshot", all others "change". Data is a ConsoleEvent. A
// snapshot replaces all that the page knew. A change has what is new or differs, each item whole, and
// the keys of what is gone. Keys: a site's name; of an app "site/app"; of a node "site/id"; of a
// session its id. The event's id resumes the stream (Last-Event-ID): where the console still has what
// followed, the stream goes on with changes, else with a snapshot. There is one event a second at
// most, and a comment (": …") every 15 s while nothing changes. The stream ends when the login does;
// then ConsoleMePath answers 401.
const (
	ConsolePath       = "/console"
	ConsoleLoginPath  = "/console/login"
	ConsoleLogoutPath = "/console/logout"
	// ConsoleEnteredPath is where a login ends: it sees whether the browser keeps the cookie.
	ConsoleEnteredPath = "/console/entered"
	ConsoleAPI         = "/console/api"
	ConsoleMePath      = "/console/api/me"
	ConsoleEventsPath  = "/console/api/events"
	ConsoleAuditPath   = "/console/api/audit"

	// ConsoleCSRFHeader has ConsoleMe.CSRF in each request that changes something.
	ConsoleCSRFHeader = "Nearcast-Csrf"

	// Problems of the console's own.
	ConsoleProblemLogin   = "/problems/login"   // 401 log in first, or again
	ConsoleProblemRole    = "/problems/role"    // 403 the role may not do this
	ConsoleProblemCSRF    = "/problems/csrf"    // 403 the header is missing or of another login
	ConsoleProblemChanged = "/problems/changed" // 409 it is not what the person saw any more
	ConsoleProblemJob     = "/problems/job"     // 422 Nomad refuses the job; detail has its words

	// Names of server-sent events.
	ConsoleEventSnapshot = "snapshot"
	ConsoleEventChange   = "change"

	// MaxConsoleBatch is how many sessions are in one event at most.
	MaxConsoleBatch = 500
)

// ConsoleRole is what a person may do in the console. Each may do what the ones before may.
type ConsoleRole string

const (
	RoleViewer   ConsoleRole = "viewer"   // sees everything but the audit log
	RoleOperator ConsoleRole = "operator" // ends sessions, looks at stills, drains nodes, sees the audit log
	RoleAdmin    ConsoleRole = "admin"    // changes warm and max, publishes apps, and rolls them back
)

// ConsoleMe says who has logged in.
type ConsoleMe struct {
	Name  string      `json:"name"`
	Role  ConsoleRole `json:"role"`
	Until time.Time   `json:"until"` // the login ends then
	CSRF  string      `json:"csrf"`
	// Site is the console's own site.
	Site string `json:"site"`
	// Actions are what the role may do here: values of ConsoleAct.
	Actions []ConsoleAct `json:"actions"`
}

// ConsoleAct names an action in ConsoleMe and in the audit log.
type ConsoleAct string

const (
	ActLogin   ConsoleAct = "login"
	ActLogout  ConsoleAct = "logout"
	ActEnd     ConsoleAct = "session.end"
	ActStill   ConsoleAct = "session.still"
	ActDrain   ConsoleAct = "node.drain"
	ActKeep    ConsoleAct = "node.ineligible"
	ActFree    ConsoleAct = "node.eligible"
	ActScale   ConsoleAct = "app.scale"
	ActPublish ConsoleAct = "app.publish"
	ActRevert  ConsoleAct = "app.revert"
)

// ConsoleEvent is the data of a server-sent event.
type ConsoleEvent struct {
	Time     time.Time     `json:"time"`
	Sites    []ConsoleSite `json:"sites,omitempty"`
	Apps     []ConsoleApp  `json:"apps,omitempty"`
	Nodes    []ConsoleNode `json:"nodes,omitempty"`
	Sessions []SessionView `json:"sessions,omitempty"` // MaxConsoleBatch at most

	GoneSites    []string `json:"gone_sites,omitempty"`
	GoneApps     []string `json:"gone_apps,omitempty"`
	GoneNodes    []string `json:"gone_nodes,omitempty"`
	GoneSessions []string `json:"gone_sessions,omitempty"`

	// More is true while sessions of this snapshot, or of this second, follow at once in the next change.
	More bool `json:"more,omitempty"`
}

// ConsoleSite is a site.
type ConsoleSite struct {
	Site      string `json:"site"`
	Own       bool   `json:"own,omitempty"` // the console's own
	Healthy   bool   `json:"healthy"`
	Unhealthy string `json:"unhealthy,omitempty"` // why
	// Place, Lat and Lon say where it is, where that is known.
	Place string   `json:"place,omitempty"`
	Lat   *float64 `json:"lat,omitempty"`
	Lon   *float64 `json:"lon,omitempty"`

	RouterURL string   `json:"router_url,omitempty"`
	Residency []string `json:"residency,omitempty"`
	GPU       []string `json:"gpu,omitempty"`
	// Distances are the round trips to other sites, by site.
	Distances map[string]Distance `json:"distances,omitempty"`
	// Sessions is how many sessions there are, and Waiting how many of them wait for a seat.
	Sessions int `json:"sessions"`
	Waiting  int `json:"waiting"`
	// Unread are the parts that cannot be read now, as a sentence each: what is shown of them is old.
	Unread []string `json:"unread,omitempty"`
}

// ConsoleApp is an app at a site.
type ConsoleApp struct {
	Site     string   `json:"site"`
	App      string   `json:"app"`
	Title    string   `json:"title"`
	Access   Access   `json:"access,omitempty"`
	Version  uint64   `json:"version"`
	Pool     string   `json:"pool,omitempty"`
	Capacity Capacity `json:"capacity"`
	// Failure is how a seat failed last, in the operators' words, with paths and nodes, and FailedAt when.
	Failure  string    `json:"failure,omitempty"`
	FailedAt time.Time `json:"failed_at,omitzero"`
}

// ConsoleNode is a node of a site.
type ConsoleNode struct {
	Site string `json:"site"`
	ID   string `json:"id"` // Nomad's
	Name string `json:"name"`
	Pool string `json:"pool"`
	// NodeClass is Nomad's class of the node, Address its address inside the site.
	NodeClass string `json:"node_class,omitempty"`
	Address   string `json:"address,omitempty"`
	Status    string `json:"status"` // Nomad's: ready, down, disconnected, initializing
	Eligible  bool   `json:"eligible"`
	Draining  bool   `json:"draining,omitempty"`
	// Load says how busy it is, and CPU, Memory and GPU what is in use, 0..1; all of it is
	// missing where the node has no seats, or where the console cannot read it.
	Load   LoadClass `json:"load,omitempty"`
	CPU    float64   `json:"cpu,omitempty"`
	Memory float64   `json:"memory,omitempty"`
	GPU    float64   `json:"gpu,omitempty"`
	// Seats are the seats there by state.
	Seats map[SeatState]int `json:"seats,omitempty"`
	// Version is that of the driver, Nomad that of the agent.
	Version string `json:"version,omitempty"`
	Nomad   string `json:"nomad,omitempty"`
}

// ConsoleSession is a session, and why it is where it is.
type ConsoleSession struct {
	Session SessionView `json:"session"`
	// Placement is missing where nobody remembers it: Unplaced says why.
	Placement *ConsolePlacement `json:"placement,omitempty"`
	Unplaced  string            `json:"unplaced,omitempty"`
}

// ConsolePlacement is how sites were ranked when the session was launched.
type ConsolePlacement struct {
	At     time.Time `json:"at"`
	Router string    `json:"router"` // which ranked
	Entry  string    `json:"entry"`  // its site
	// Candidates are as in LaunchResponse: the chosen first.
	Candidates []Candidate `json:"candidates"`
	// Preferences are what the launch asked for.
	Preferences Preferences `json:"preferences,omitzero"`
}

// ConsoleNodeOrder says what becomes of a node.
type ConsoleNodeOrder struct {
	// Action is ActDrain, ActKeep (nothing new starts there) or ActFree (ends a drain, too).
	Action ConsoleAct `json:"action"`
	// DeadlineS is how long its sessions may go on in a drain; 0 is the default, an hour.
	DeadlineS int64 `json:"deadline_s,omitempty"`
}

// ConsoleScale changes how many seats an app has. What is missing stays.
type ConsoleScale struct {
	Warm *int `json:"warm,omitempty"`
	Max  *int `json:"max,omitempty"`
	// Version is the version that the person saw: another one answers 409.
	Version uint64 `json:"version"`
}

// ConsoleRevert rolls an app back.
type ConsoleRevert struct {
	To uint64 `json:"to"` // becomes a new version with what this one had
	// Version is the version that the person saw: another one answers 409.
	Version uint64 `json:"version"`
}

// ConsolePublish registers a version of an app.
type ConsolePublish struct {
	// Job is a job file in HCL or JSON, MaxConsoleJob bytes at most.
	Job       string            `json:"job"`
	Variables map[string]string `json:"variables,omitempty"`
	// DryRun only checks.
	DryRun bool `json:"dry_run,omitempty"`
}

// MaxConsoleJob is the largest job file in bytes.
const MaxConsoleJob = 512 << 10

// ConsolePublished says which version an app has now.
type ConsolePublished struct {
	App     string `json:"app"`
	Version uint64 `json:"version"` // of a dry run: that it would follow
	// Warnings are Nomad's words, and Problems why the job is no app; then it was not registered.
	Warnings string   `json:"warnings,omitempty"`
	Problems []string `json:"problems,omitempty"`
}

// ConsoleAppDetail is an app with its versions, the newest first.
type ConsoleAppDetail struct {
	App      ConsoleApp       `json:"app"`
	Versions []ConsoleVersion `json:"versions"`
}

// ConsoleVersion is a version of an app's job that Nomad still has.
type ConsoleVersion struct {
	Version   uint64    `json:"version"`
	Submitted time.Time `json:"submitted"`
	Title     string    `json:"title"`
	Warm      string    `json:"warm,omitempty"` // as the job's meta has it
	Max       string    `json:"max,omitempty"`
	// Changes name the fields that differ from the version before.
	Changes []string `json:"changes,omitempty"`
}

// ConsoleAudit lists the last actions, the newest first.
type ConsoleAudit struct {
	Actions []ConsoleAction `json:"actions"`
}

// ConsoleAction is a line of the audit log. There is one for each action that was tried.
type ConsoleAction struct {
	// ID is the same in the line before an action, whose result is "begun", and in the line after it.
	ID   string    `json:"id"`
	Time time.Time `json:"time"`
	Who  string    `json:"who"` // the provider's subject, or "token" of a console without a provider
	// Name is for people; it can be changed at the provider.
	Name string      `json:"name,omitempty"`
	Role ConsoleRole `json:"role,omitempty"`
	From string      `json:"from,omitempty"` // the person's address
	Act  ConsoleAct  `json:"act"`
	Site string      `json:"site,omitempty"`
	On   string      `json:"on,omitempty"` // a session's id, a node's id, an app
	// With are the action's own values: "warm": "3".
	With map[string]string `json:"with,omitempty"`
	// Result is ok, refused (the role does not suffice, or a check) or failed.
	Result string `json:"result"`
	Why    string `json:"why,omitempty"` // where it is not ok
}
