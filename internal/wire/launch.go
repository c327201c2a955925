package wire

import "time"

// LaunchRequest is the body of POST /v1/sessions.
type LaunchRequest struct {
	App string `json:"app"`
	// Version asks for one version of the app; 0 is the newest.
	Version uint64 `json:"version,omitempty"`
	// RTTMS is what the caller measured to each site's beacon, in milliseconds.
	// Sites that did not answer are left out.
	RTTMS map[string]float64 `json:"rtt_ms,omitempty"`
	// Lost names sites that the person has just lost a session at: they are not
	// chosen again.
	Lost        []string    `json:"lost,omitempty"`
	Preferences Preferences `json:"preferences,omitzero"`
	// Params sets parameters of a public app, by name. A launch token sets those of the
	// others.
	Params map[string]string `json:"params,omitempty"`
}

// Preferences limit where a session may go. The zero value has none.
type Preferences struct {
	Allow    []string `json:"allow,omitempty"` // only these sites
	Deny     []string `json:"deny,omitempty"`  // none of these
	MaxRTTMS float64  `json:"max_rtt_ms,omitempty"`
	// Residency names jurisdictions: only sites that lie in one of them.
	Residency []string `json:"residency,omitempty"`
	// GPU asks for a site that has this class of GPU.
	GPU string `json:"gpu,omitempty"`
}

// MaxRTTMS is the largest RTT that a launch request may claim, in milliseconds.
const MaxRTTMS = 10_000

// MaxBody is the largest request body in bytes.
const MaxBody = 64 << 10

// LaunchResponse answers POST /v1/sessions with 201.
type LaunchResponse struct {
	Session string    `json:"session"`
	App     string    `json:"app"`
	Version uint64    `json:"version"`
	Ticket  string    `json:"ticket"`
	Expires time.Time `json:"expires"` // of the ticket; renew it while waiting
	Site    string    `json:"site"`
	// BrainURL is the WebSocket to open, with MsgHello as its first message.
	BrainURL string `json:"brain_url"`
	// SpareBrainURLs are others of the same site, for the case that this one is full or
	// gone: the ticket is good at each of them, until one has used it.
	SpareBrainURLs []string    `json:"spare_brain_urls,omitempty"`
	ICEServers     []ICEServer `json:"ice_servers"`
	PredictedRTTMS float64     `json:"predicted_rtt_ms"`
	RTTSource      RTTSource   `json:"rtt_source"`
	// Candidates are all sites, the chosen first, then the runners-up in order,
	// then those that cannot serve, each with its numbers and its reason.
	Candidates []Candidate `json:"candidates"`
}

// RTTSource is where a predicted RTT comes from.
type RTTSource string

const (
	RTTMeasured  RTTSource = "measured"  // by the caller
	RTTPredicted RTTSource = "predicted" // from Consul's coordinates
	RTTAssumed   RTTSource = "assumed"   // measured from the router that the caller reached
)

// Candidate is one site as placement saw it. Milliseconds add up: Score is
// RTTMS + WaitMS + LoadMS, and the lowest wins.
type Candidate struct {
	Site      string    `json:"site"`
	BrainURL  string    `json:"brain_url,omitempty"`
	RTTMS     float64   `json:"rtt_ms"`
	RTTSource RTTSource `json:"rtt_source"`
	// RTTErrorMS is how far RTTMS may be off; 0 where it was measured.
	RTTErrorMS float64 `json:"rtt_error_ms,omitempty"`
	WaitMS     float64 `json:"wait_ms"` // expected until a seat is ready
	LoadMS     float64 `json:"load_ms"` // penalty for a crowded site
	Score      float64 `json:"score"`
	// Excluded says why the site cannot serve; empty for a runner-up.
	Excluded string `json:"excluded,omitempty"`
	// Reason says in words why the site stands where it stands.
	Reason string `json:"reason"`
}

// ICEServer is an RTCIceServer.
type ICEServer struct {
	URLs       []string `json:"urls"`
	Username   string   `json:"username,omitempty"`
	Credential string   `json:"credential,omitempty"`
}

// TicketRenewal answers POST /v1/sessions/{id}/ticket, which takes the ticket
// in force as "Authorization: Bearer" and gives one with more time.
type TicketRenewal struct {
	Ticket  string    `json:"ticket"`
	Expires time.Time `json:"expires"`
}

// AppsResponse answers GET /v1/apps.
type AppsResponse struct {
	Apps []AppView `json:"apps"`
	// Stale is true where the router serves from its last known view.
	Stale bool `json:"stale,omitempty"`
}

// AppView is an app as a person sees it: over all sites.
type AppView struct {
	ID          string  `json:"id"`
	Version     uint64  `json:"version"`
	Title       string  `json:"title"`
	Description string  `json:"description,omitempty"`
	Picture     string  `json:"picture,omitempty"`
	Display     Display `json:"display"`
	// Sites holds the app's capacity by site.
	Sites map[string]Capacity `json:"sites"`
}

// SitesResponse answers GET /v1/sites.
type SitesResponse struct {
	// Entry is the site of the router that answers.
	Entry string     `json:"entry"`
	Sites []SiteView `json:"sites"`
	// Probe names the sites to measure, the likeliest first: all of them where
	// they are few (MaxRace at most), else those to begin with. What to measure
	// then is asked for at POST /v1/probes.
	Probe []string `json:"probe"`
	// Login is true where the entry's routers can log people in.
	Login bool `json:"login,omitempty"`
	Stale bool `json:"stale,omitempty"`
}

// MaxRace is how many sites a page races without asking for advice.
const MaxRace = 24

// ProbeRequest is the body of POST /v1/probes: what a page has measured so far.
type ProbeRequest struct {
	RTTMS map[string]float64 `json:"rtt_ms"`
	// SilentMS holds the sites that were asked and have not answered yet, and how
	// far each is at least, in milliseconds: it would have answered by now.
	SilentMS map[string]float64 `json:"silent_ms,omitempty"`
	// Failed names sites whose beacon did not answer.
	Failed []string `json:"failed,omitempty"`
}

// ProbeResponse answers with 200.
type ProbeResponse struct {
	// Probe names the sites to measure next; empty when another measurement is
	// not expected to pay.
	Probe []string `json:"probe"`
	// Nearest is the nearest site as far as the router can tell now.
	Nearest string `json:"nearest,omitempty"`
}

// SiteView is a site as a browser needs it to measure and choose.
type SiteView struct {
	Site      string `json:"site"`
	BeaconURL string `json:"beacon_url"`
	BrainURL  string `json:"brain_url,omitempty"`
	// RouterURL is the site's own router: where to go on when this one is lost.
	RouterURL string `json:"router_url,omitempty"`
	Healthy   bool   `json:"healthy"`
	// Unhealthy says why, where it is not.
	Unhealthy string   `json:"unhealthy,omitempty"`
	Residency []string `json:"residency,omitempty"`
	GPU       []string `json:"gpu,omitempty"`
	// Distances are the round trips to other sites. GET /v1/sites?distances=all gives each site's, else only the entry's.
	Distances map[string]Distance `json:"distances,omitempty"`
	// Apps holds the capacity of each public app.
	Apps map[string]Capacity `json:"apps"`
}

// Distance is a round trip between two sites, predicted by Consul's coordinates
// unless it was measured.
type Distance struct {
	RTTMS   float64 `json:"rtt_ms"`
	ErrorMS float64 `json:"error_ms"` // how far it may be off
	// Measured is true where a router of one of the sites measured it.
	Measured bool `json:"measured,omitempty"`
	// Untrusted says why it is not used for placement; empty where it is.
	Untrusted string `json:"untrusted,omitempty"`
}
