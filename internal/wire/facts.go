package wire

import "time"

// Health is what a router answers to GET /healthz. A router of another site sends a token as
// for FactsPath, and in the query "have", the version that it has.
type Health struct {
	Status string `json:"status"` // ok or stale
	Site   string `json:"site"`
	// Facts is the version of the site's facts, for routers alone.
	Facts string `json:"facts,omitempty"`
	// Changes are those since the version that the caller has, where the router remembers
	// it and they are short. Else FactsPath tells them.
	Changes *SiteFacts `json:"changes,omitempty"`
	// StaleSince is since when the router does not see its own site.
	StaleSince *time.Time `json:"stale_since,omitempty"`
}

// FactsPath is where a router tells the routers of other sites what its own site is and
// has. GET, with "Authorization: Bearer" and a token of ticket.Signer.Ask. The query may
// have "have", the version that the caller has, and "distances=1".
const FactsPath = "/v1/facts"

// SiteFacts is what a router tells of its own site, and never of another one.
type SiteFacts struct {
	Site string `json:"site"`
	// Version names these facts. Routers of a site that know the same of it have the
	// same version.
	Version string `json:"version"`
	// Since is the version from which Apps and GoneApps are the changes; empty where
	// Apps are all apps.
	Since    string         `json:"since,omitempty"`
	Apps     map[string]App `json:"apps,omitempty"`
	GoneApps []string       `json:"gone_apps,omitempty"`
	// Brains and Routers are always told in full, without what only their own site needs:
	// Address, Internal and Key.
	Brains  []Instance `json:"brains"`
	Routers []Instance `json:"routers"`
	Info    SiteInfo   `json:"info"`
	// Distances are the round trips to other sites that the router measured, where they
	// were asked for.
	Distances map[string]Distance `json:"distances,omitempty"`
}
